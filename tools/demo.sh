#!/bin/sh
# Runs the built twin with its query console: demo.sh BINARY [ARGUMENT...].
set -eu
. "$(dirname "$0")/env.sh"
[ ! -d "$console" ] || export TWIN_ASSETS="${TWIN_ASSETS:-$console/node_modules}"
binary=$1; shift
exec "$binary" demo "$@"
