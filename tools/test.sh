#!/bin/sh
# Runs the built tests: test.sh [WORD], only those whose name contains WORD; TWIN_SHOW=1 shows what
# they print, for those that measure.
set -eu
. "$(dirname "$0")/env.sh"
[ -z "$chromium" ] || export TWIN_CHROMIUM="$chromium"
export TWIN_PYTHON="$venv/bin/python" TWIN_NODE_PEERS="$node_peers/node_modules"
[ ! -d "$console" ] || export TWIN_ASSETS="$console/node_modules"
[ ! -d "$map" ] || export TWIN_MAP="$map"
if cargo nextest --version >/dev/null 2>&1; then
  exec tools/cargo.sh nextest run --workspace --locked ${TWIN_SHOW:+--no-capture} "$@"
fi
exec tools/cargo.sh test --workspace --locked --no-fail-fast "$@" ${TWIN_SHOW:+-- --nocapture}
