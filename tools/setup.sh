#!/bin/sh
# Brings what a machine lacks, once: setup.sh build | console | map | test | lint.
#   build    clang, which compiles RocksDB and binds it
#   console  GraphiQL, which the twin serves itself (graphql-api/console)
#   map      the map, bundled from graphql-api/map
#   test     mosquitto_pub, openssl, chromium, a Python venv (requirements.txt), and under Node (tests/node)
#            graphql-ws, mqtt.js, gltf-validator and playwright-core
#   lint     cargo-deny
# Debian packages come through apt; the rest lies under the cache folder, named by the hash of
# what asked for it, so another version never meets the old one. Done is quick and says nothing.
set -eu
. "$(dirname "$0")/env.sh"

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif have sudo; then sudo "$@"
  else die "root is needed for: $* (run it as root, then try again)"
  fi
}

# apt_get PACKAGE...: one quiet transaction; the log is shown only when it fails.
apt_get() {
  have apt-get || die "please install: $* (this machine has no apt-get)"
  say "installing with apt: $*"
  log=$(mktemp)
  # A machine whose lists are stale cannot install, one whose lists are fresh need not update.
  if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@" >"$log" 2>&1 &&
     ! { as_root apt-get update -q >"$log" 2>&1 &&
         as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@" >>"$log" 2>&1; }
  then
    tail -n 15 "$log" >&2; rm -f "$log"
    die "apt could not install $*: is the Debian mirror reachable?"
  fi
  rm -f "$log"
}

# into DIR REGISTRY COMMAND...: runs COMMAND with $part set, and keeps $part as DIR only if it worked.
into() {
  dir=$1 registry=$2; shift 2
  [ ! -d "$dir" ] || return 0
  part=$dir.part.$$; mkdir -p "$part"
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1; then
    tail -n 15 "$log" >&2; rm -rf "$part" "$log"
    die "could not fill $dir: is $registry reachable?"
  fi
  rm -f "$log"
  mv -T "$part" "$dir" 2>/dev/null || rm -rf "$part" # another process was first
}

npm_from() { cp "$1"/package*.json "$part" && (cd "$part" && npm ci --ignore-scripts --no-audit --no-fund); }
# The map's packages are needed to bundle it and no longer; its own tests and types are checked first.
map_from() {
  make=$(mktemp -d)
  cp -R "$1"/*.json "$1"/build.mjs "$1"/index.html "$1"/style.css "$1"/src "$1"/test "$make"
  (cd "$make" && npm ci --ignore-scripts --no-audit --no-fund && npx tsc --noEmit &&
    node build.mjs tests --tests && node --test tests/*.mjs && node build.mjs "$part")
  status=$?
  rm -rf "$make"
  return $status
}
# A venv knows its own path, so it is made in place and the folder is claimed by its stamp.
python_packages() {
  [ ! -e "$venv/done" ] || return 0
  say "creating the Python environment of the tests"
  log=$(mktemp)
  if ! { python3 -m venv --clear "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check -r tools/requirements.txt; } >"$log" 2>&1; then
    tail -n 15 "$log" >&2; rm -rf "$venv" "$log"
    die "could not install tools/requirements.txt: is the Python package index reachable?"
  fi
  rm -f "$log"; touch "$venv/done"
}

mkdir -p "$cache"
exec 9>"$cache/setup.lock"
! have flock || flock 9

for what in "$@"; do
  case $what in
    build)
      have cargo || die "Rust is missing: install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer (https://rustup.rs)"
      if ! have clang++ || ! ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1; then apt_get clang; fi ;;
    console)
      # The demo is useful without its console: /graphql then says what is missing.
      if [ ! -d "$console" ]; then
        say "fetching the query console"
        if ! have npm || ! (into "$console" "the npm registry" npm_from graphql-api/console); then
          say "going on without the query console"
        fi
      fi ;;
    map)
      # The demo is useful without its map: /map then says what is missing.
      if [ ! -d "$map" ]; then
        say "building the map"
        if ! have npm || ! (into "$map" "the npm registry" map_from graphql-api/map); then
          say "going on without the map"
        fi
      fi ;;
    test)
      packages=
      have mosquitto_pub || packages="$packages mosquitto-clients"
      have openssl || packages="$packages openssl"
      [ -n "$chromium" ] || packages="$packages chromium"
      [ -e "$venv/done" ] || python3 -c 'import ensurepip' 2>/dev/null || packages="$packages python3-venv"
      # shellcheck disable=SC2086  # a list of names
      [ -z "$packages" ] || apt_get $packages
      python_packages
      if [ ! -d "$node_peers" ]; then
        have node && have npm || die "node or npm is missing: install Node 20 or newer with npm (https://nodejs.org)"
        say "fetching graphql-ws, mqtt.js, gltf-validator and playwright-core, clients of the tests"
        into "$node_peers" "the npm registry" npm_from tests/node
      fi ;;
    lint)
      cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 ||
        die "rustfmt or clippy is missing: rustup component add rustfmt clippy"
      if [ "$("$cache/tools/bin/cargo-deny" --version 2>/dev/null)" != "cargo-deny $deny_version" ]; then
        say "building cargo-deny $deny_version once into $cache/tools (a few minutes)"
        cargo install -q cargo-deny --version "$deny_version" --locked --root "$cache/tools" ||
          die "could not install cargo-deny: is crates.io reachable?"
      fi ;;
    *) die "unknown part '$what': build, console, map, test or lint" ;;
  esac
done
