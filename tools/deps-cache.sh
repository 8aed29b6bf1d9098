#!/bin/sh
# Keeps built dependencies between clean checkouts.
#   deps-cache.sh restore      fills an empty target folder from the cache
#   deps-cache.sh save STAGE.. after these (build, test, lint) succeeded: adds what is new to the cache
#
# # Invariants
# - The cache never holds a workspace member's artefacts: two checkouts share their fingerprints,
#   and one would run the other's code.
# - A cached folder is complete for the stages that its stamps name; it appears by rename alone.
# - The key holds all that decides whether a dependency is fresh, so a hit compiles none of them.
#   cargo checks that again: a wrong hit costs time, never a wrong result.
set -eu
. "$(dirname "$0")/env.sh"
near_max_mib=6144
keep=2 # keys: the current one, and the one before it for going back

lib=$(tools/rocksdb.sh)
key=$({
  rustc -vV
  cat Cargo.lock .cargo/config.toml
  # Profiles and requested features, without their comments.
  awk '/^\[/ { on = /^\[(profile|workspace\.dependencies)/ } on' Cargo.toml | sed 's/ *#.*//' | grep .
  basename "$lib"
} | sha256sum | cut -c1-16)
kept=$cache/deps/$key
stages='build test lint'
stamp=.stage # .stage-build-KEY and so on, in the debug folder
mkdir -p "$cache/deps"
exec 9>"$cache/deps.lock"

case ${1:-} in
restore)
  [ ! -e "$target/debug" ] || exit 0
  flock -s 9
  if [ ! -d "$kept/debug" ]; then
    # The nearest is better than none: after a changed lock file cargo rebuilds only what changed.
    # It brings its stale artefacts along, so beyond a size a clean start is the better one.
    # shellcheck disable=SC2012  # names are our own hashes
    near=$(ls -1t "$cache/deps" | head -n 1)
    [ -n "$near" ] || exit 0
    kept=$cache/deps/$near
    [ "$(du -sm "$kept" | cut -f1)" -le "$near_max_mib" ] || exit 0
  fi
  say "taking built dependencies from $kept"
  mkdir -p "$target"
  part=$target/debug.part.$$
  cp -a --reflink=auto "$kept/debug" "$part"
  mv -T "$part" "$target/debug"
  cp -a "$kept/.rustc_info.json" "$target/" 2>/dev/null || true
  touch "$kept" ;;
save)
  shift
  flock 9
  for s in "$@"; do
    case " $stages " in *" $s "*) touch "$target/debug/$stamp-$s-$key" ;; *) die "no stage '$s': $stages" ;; esac
  done
  new=
  for s in $stages; do
    here=0; [ ! -e "$target/debug/$stamp-$s-$key" ] || here=1
    there=0; [ ! -e "$kept/debug/$stamp-$s-$key" ] || there=1
    # A target that lacks a stage which the cache has would take that away: leave the cache be.
    [ "$there" -le "$here" ] || exit 0
    [ "$here" = "$there" ] || new=1
  done
  [ -n "$new" ] || exit 0
  need=$(du -sk --exclude=incremental "$target/debug" | cut -f1)
  free=$(df -Pk "$cache/deps" | awk 'NR == 2 { print $4 }')
  if [ "$free" -lt $((need * 2)) ]; then
    say "built dependencies are not kept: $((free / 1024)) MiB free in $cache, $((need * 2 / 1024)) wanted"
    exit 0
  fi
  part=$cache/deps/.part.$$
  trap 'rm -rf "$part"' EXIT
  trap 'exit 1' INT TERM
  rm -rf "$cache"/deps/.part.* # of a save that was killed: the lock is ours
  mkdir "$part"
  cp -a --reflink=auto "$target/debug" "$part/debug"
  cp -a "$target/.rustc_info.json" "$target/CACHEDIR.TAG" "$part/" 2>/dev/null || true
  rm -rf "$part/debug/incremental" "$part/debug/examples"
  cargo clean -q --workspace --locked --target-dir "$part"
  rm -rf "$kept"
  mv -T "$part" "$kept"
  # Newest first; the rest goes. Names are our own hashes.
  # shellcheck disable=SC2012
  ls -1t "$cache/deps" | tail -n +$((keep + 1)) | while read -r old; do rm -rf "${cache:?}/deps/$old"; done
  say "built dependencies are kept in $kept ($(du -sh "$kept" | cut -f1))" ;;
*) die "restore, or save STAGE" ;;
esac
