#!/bin/sh
# Runs the built twin with its map and its query console: demo.sh BINARY [ARGUMENT...].
set -eu
. "$(dirname "$0")/env.sh"
[ ! -d "$console" ] || export TWIN_ASSETS="${TWIN_ASSETS:-$console/node_modules}"
[ ! -d "$map" ] || export TWIN_MAP="${TWIN_MAP:-$map}"
binary=$1; shift
exec "$binary" demo "$@"
