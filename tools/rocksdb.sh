#!/bin/sh
# Builds a static librocksdb.a as a few unity files from the sources of the locked crate
# (minutes instead of half an hour) and prints the directory that ROCKSDB_LIB_DIR wants.
# The archive lives outside the checkout, at one path for version, compiler and flags:
# a changed ROCKSDB_LIB_DIR would rebuild SurrealDB.
set -eu
jobs=${JOBS:-$(nproc)}; cxx=${CXX:-clang++}; opt=${OPT:--O2}
# Without these RocksDB computes its checksums with tables, 7 % of all processor time while a year of
# readings is loaded. Every x86-64 processor since 2011 has them.
case $(uname -m) in x86_64) crc="-msse4.2 -mpclmul" ;; *) crc="" ;; esac
meta=$(cargo metadata --locked --format-version 1)
dir() {
  echo "$meta" | grep -o "\"manifest_path\":\"[^\"]*/$1-[0-9][^\"]*/Cargo.toml\"" | head -1 |
    sed 's/.*:"//; s/\/Cargo.toml"$//'
}
sys=$(dir surrealdb-librocksdb-sys)
[ -n "$sys" ] || { echo "rocksdb.sh: surrealdb-librocksdb-sys is not in Cargo.lock" >&2; exit 1; }
out=${ROCKSDB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/librocksdb}/$(basename "$sys")-$(basename "$cxx")$opt$(echo "$crc" | tr -d ' ')
mkdir -p "$(dirname "$out")"
exec 8>"$out.lock"
flock 8
if [ ! -e "$out/librocksdb.a" ]; then
  echo "building RocksDB once into $out" >&2
  tmp=$out.tmp.$$; mkdir -p "$tmp"
  inc="-Irocksdb/include -Irocksdb -Isnappy -I. -I$(dir lz4-sys)/liblz4/lib -I$(dir zstd-sys)/zstd/lib -I$(dir libz-sys)/src/zlib -I$(dir bzip2-sys)/bzip2-1.0.8"
  def="-DSNAPPY=1 -DLZ4=1 -DZSTD=1 -DZLIB=1 -DBZIP2=1 -DNDEBUG=1 -DHAVE_ALIGNED_NEW -DHAVE_UINT128_EXTENSION -DOS_LINUX -DROCKSDB_PLATFORM_POSIX -DROCKSDB_LIB_IO_POSIX -DROCKSDB_SCHED_GETCPU_PRESENT -DROCKSDB_AUXV_GETAUXVAL_PRESENT -DROCKSDB_FALLOCATE_PRESENT -DROCKSDB_RANGESYNC_PRESENT"
  ( cd "$sys"
    tr -d '\r ' < rocksdb_lib_sources.txt | grep -v '^util/build_version.cc$' | grep . |
      sed 's|.*|#include "&"|' | split -l 28 -d --additional-suffix=.cc - "$tmp/u"
    cp build_version.cc "$tmp/v.cc"
    # shellcheck disable=SC2086  # $crc, $inc and $def are lists of flags
    ls "$tmp"/*.cc | xargs -P "$jobs" -I{} "$cxx" "$opt" $crc -w -std=c++20 -include cstdint \
      -ffunction-sections -fdata-sections -fPIC $inc $def -c {} -o {}.o )
  ar crs "$tmp/librocksdb.a" "$tmp"/*.o; rm "$tmp"/*.o "$tmp"/*.cc; mv -T "$tmp" "$out"
fi
echo "$out"
