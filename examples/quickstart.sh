#!/usr/bin/env bash
# From nothing to a function that answers: installs what is missing, builds, starts a host on SQLite
# and a local directory, deploys examples/hello-python and calls it.
#
#   examples/quickstart.sh           leaves the host running in the foreground
#   examples/quickstart.sh --once    stops it again and exits with 0
#
# Everything it makes is in .dunnage/ (DUNNAGE_DATA_DIR) and target/. PORT chooses the port (8080).
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/support/steps.sh
. tests/support/podman.sh

ONCE=no
case ${1:-} in
  '') ;;
  --once) ONCE=yes ;;
  *) echo "usage: examples/quickstart.sh [--once]" >&2; exit 64 ;;
esac
export PORT=${PORT:-8080} DUNNAGE_DATA_DIR=${DUNNAGE_DATA_DIR:-$PWD/.dunnage}
export DUNNAGE_PLUGINS=${DUNNAGE_PLUGINS:-$PWD/examples/plugins.toml}
URL=http://127.0.0.1:$PORT
HOST_PID=

build() { cargo build --package dunnage --bin dunnage && host/init/build.sh; }

# Ended on every way out, so that the script can be run again at once.
stop_host() {
  [ -n "$HOST_PID" ] || return 0
  kill "$HOST_PID" 2>/dev/null || true
  wait "$HOST_PID" 2>/dev/null || true
  HOST_PID=
}
trap stop_host EXIT

start_host() {
  if curl -s --max-time 2 -o /dev/null "$URL/health"; then
    echo "Something answers at $URL already: stop it, or choose another port: PORT=8081 $0" >&2
    return 1
  fi
  DUNNAGE_INIT=$(target_dir)/init/dunnage-init "$(target_dir)/debug/dunnage" &
  HOST_PID=$!
  local tries
  for tries in $(seq 300); do
    curl -sf --max-time 2 -o /dev/null "$URL/ready" && return 0
    kill -0 "$HOST_PID" 2>/dev/null || { echo "The host ended; why stands above." >&2; return 1; }
    sleep 0.2
  done
  echo "The host did not become ready within a minute; curl $URL/ready tells what is missing." >&2
  return 1
}

# The token goes to curl by a file that only this user reads, not by its arguments, which all see.
api() { curl -sS --fail-with-body --header @"$DUNNAGE_DATA_DIR/curl-header" "$@"; }

deploy() {
  (umask 077 && printf 'Authorization: Bearer %s' "$(cat "$DUNNAGE_DATA_DIR/admin.token")" >"$DUNNAGE_DATA_DIR/curl-header")
  local archive=$DUNNAGE_DATA_DIR/hello-python.tar.gz
  tar -C examples/hello-python -czf "$archive" .
  api --no-buffer --header 'Accept: application/x-ndjson' --form name=hello-python \
    --form "archive=@$archive" "$URL/api/functions/deploy" | tee "$DUNNAGE_DATA_DIR/deploy.ndjson"
  tail -n 1 "$DUNNAGE_DATA_DIR/deploy.ndjson" | grep -q '"event":"done"'
}

invoke() {
  api --json '{"body":{"name":"Dunnage"}}' "$URL/api/functions/hello-python/invoke" | tee "$DUNNAGE_DATA_DIR/answer.json"
  echo
  grep -q '"success":true' "$DUNNAGE_DATA_DIR/answer.json"
}

step 'tools' toolchain_ready
step 'Podman' podman_ready
step 'base image' tests/images.sh python
step 'plugins' plugins/build.sh
step 'host' build
step 'start' start_host
step 'deploy hello-python' deploy
step 'invoke hello-python' invoke

cat <<EOF

Your function answers, $SECONDS s after the start.

  URL      $URL
  token    $DUNNAGE_DATA_DIR/admin.token

Try next:
  curl -H "Authorization: Bearer \$(cat $DUNNAGE_DATA_DIR/admin.token)" \\
    --json '{"body":{"name":"you"}}' $URL/api/functions/hello-python/invoke
  change examples/hello-python/main.py, deploy again, and see the version go up
  change plugins/dockerfile-templates/templates/python.Dockerfile: the next deploy uses it
  README.md: writing functions, policies and templates
EOF
if [ "$ONCE" = yes ]; then
  stop_host
  exit 0
fi
echo
echo "The host runs until you press Ctrl-C."
wait "$HOST_PID"
