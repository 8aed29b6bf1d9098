#!/bin/sh
# cargo, with the one environment in which everything here is built. A changed ROCKSDB_LIB_DIR
# rebuilds SurrealDB, so every command goes through here.
set -eu
. "$(dirname "$0")/env.sh"
ROCKSDB_LIB_DIR=$(tools/rocksdb.sh)
export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
exec cargo "$@"
