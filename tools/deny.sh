#!/bin/sh
# What may enter Cargo.lock (deny.toml). Advisories need their database from the network:
# without it they are left out, and that is said.
set -eu
. "$(dirname "$0")/env.sh"
deny=$cache/tools/bin/cargo-deny
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! "$deny" check bans licenses sources >"$log" 2>&1; then
  cat "$log" >&2
  die "Cargo.lock holds what deny.toml refuses"
fi
if ! "$deny" check advisories >"$log" 2>&1; then
  if grep -q 'failed to fetch advisory database' "$log"; then
    say "advisories not checked: their database cannot be fetched here"
    exit 0
  fi
  cat "$log" >&2
  die "an advisory speaks of a dependency"
fi
