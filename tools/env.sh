# Sourced by the other tools: where things that outlive a checkout are kept, and one way to speak.
# Everything lies under one folder outside the checkout, so a clean clone finds what another built.
cd "$(dirname "$0")/.."
root=$PWD
cache=${TWIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/twin}
target=${CARGO_TARGET_DIR:-$root/target}
hash_of() { cat "$@" | sha256sum | cut -c1-16; }
venv=$cache/venv-$(hash_of tools/requirements.txt)
console=$cache/console-$(hash_of graphql-api/console/package.json graphql-api/console/package-lock.json)
# The map is built from its sources, so these name it too.
map=$cache/map-$(hash_of graphql-api/map/*.json graphql-api/map/build.mjs graphql-api/map/index.html graphql-api/map/style.css graphql-api/map/src/*.ts)
node_peers=$cache/node-$(hash_of tests/node/package.json tests/node/package-lock.json)
deny_version=0.20.2
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
say() { echo "$*" >&2; }
die() { echo "$(basename "$0"): $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
