#!/bin/sh
# Runs Eclipse Paho's interoperability suite against a twin of its own: paho.sh DIR [VERSION...].
# DIR is a checkout of https://github.com/eclipse/paho.mqtt.testing, whose licence keeps it out of
# ours; VERSION is 3 (3.1.1) or 5, both unless named. The twin is the one of `make build`, in a
# temporary folder, with the topics of the suite opened. Ends with 1 where a test fails.
set -eu
[ $# -ge 1 ] && [ -f "$1/interoperability/client_test.py" ] ||
  { echo "usage: tools/paho.sh DIR [VERSION...], DIR a checkout of eclipse/paho.mqtt.testing" >&2; exit 2; }
suite=$(cd "$1/interoperability" && pwd); shift
[ $# -gt 0 ] || set -- 3 5
. "$(dirname "$0")/env.sh"
twin=$target/debug/twin
[ -x "$twin" ] || die "$twin is missing: run make build first"

folder=$(mktemp -d)
pid=
trap 'if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; fi; rm -rf "$folder"' EXIT
# test/nosubscribe stays closed: the suite wants a filter that is refused. 60 s is what it expects
# a server to say instead of a longer keep alive.
TWIN_MQTT__OPEN='["TopicA/#", "Topic/#", "/#", "client_test5/#"]' TWIN_MQTT__MAX_KEEP_ALIVE_SECS=60 \
  "$twin" --json serve --dir "$folder/twin" --http 127.0.0.1:0 --mqtt 127.0.0.1:0 >"$folder/ready" 2>"$folder/log" &
pid=$!
while ! grep -q '"ready"' "$folder/ready"; do
  kill -0 "$pid" 2>/dev/null || { cat "$folder/log" >&2; die "the twin did not start"; }
  sleep 0.2
done
port=$(sed -n 's/.*"mqtt":"[^"]*:\([0-9]*\)".*/\1/p' "$folder/ready")

failed=0
for version in "$@"; do
  case $version in
    3) script=client_test.py ;;
    5) script=client_test5.py ;;
    *) die "unknown version '$version': 3 or 5" ;;
  esac
  # The scripts leave options to unittest that it does not know, so they are taken away before it.
  (cd "$suite" && PYTHONDONTWRITEBYTECODE=1 python3 - "$script" "$port" >"$folder/out" 2>&1 <<'PYTHON'
import runpy, sys, unittest

script, port = sys.argv[1:]
sys.path.insert(0, ".")
main = unittest.main

def run():
    sys.argv[1:] = []
    main(verbosity=2)

unittest.main = run
sys.argv = [script, "-p", port]
runpy.run_path(script, run_name="__main__")
PYTHON
  ) || failed=1
  echo "== MQTT $version"
  grep -E '^(Ran |OK|FAILED|(FAIL|ERROR): )' "$folder/out" || tail -n 20 "$folder/out"
  cp "$folder/out" "${TMPDIR:-/tmp}/paho-$version.log"
done
exit "$failed"
