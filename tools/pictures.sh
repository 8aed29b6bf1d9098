#!/bin/sh
# Takes the pictures of the map that README.md shows: pictures.sh BINARY [FOLDER]. Wants the source data.
set -eu
. "$(dirname "$0")/env.sh"
tools/setup.sh map test
[ -d "${TWIN_DATA:-data}" ] || die "the pictures show the source data: name its folder with TWIN_DATA"
export TWIN_DATA="${TWIN_DATA:-data}" TWIN_MAP="$map" TWIN_NODE_PEERS="$node_peers/node_modules"
export TWIN_CHROMIUM="${chromium:-$(command -v chromium)}"
exec node tests/node/pictures.mjs "$1" "${2:-docs}"
