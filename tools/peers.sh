#!/bin/sh
# Questions of space beside PostGIS, in one run: peers.sh BINARY. PostGIS listens on a socket in a
# temporary folder only; both end with this script. Wants: apt-get install postgresql-15-postgis-3
set -eu
. "$(dirname "$0")/env.sh"
tools/setup.sh test
exec "$venv/bin/python" tools/peers.py "$@"
