#!/bin/sh
# The same work by PostGIS, martin, osm2pgsql, ogr2ogr and Mosquitto with PostgreSQL, in one run: peers.sh BINARY. They listen on a
# socket in a temporary folder and on loopback only, and end with this script.
# Wants: apt-get install postgresql-15-postgis-3 mosquitto mosquitto-clients osm2pgsql gdal-bin; martin, where tiles are to be there.
set -eu
. "$(dirname "$0")/env.sh"
tools/setup.sh test
exec "$venv/bin/python" tools/peers.py "$@"
