#!/usr/bin/env bash
# Measures, in one run, against a named reference; every figure is a ratio. Prints a table and writes
# {cargo's target directory}/bench.json, a list of {work, value, unit, reference, ratio, target, met}.
#
#   tests/bench.sh [ROUNDS]      20 rounds by default; reference and host take turns
#
# BENCH_PROFILE=dev measures a quick build; without it the host is built with --release.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/support/steps.sh
. tests/support/podman.sh

ROUNDS=${1:-20}
PROFILE=${BENCH_PROFILE:-release}
WORK=$(mktemp -d)
HOST_PID=
finish() {
  [ -z "$HOST_PID" ] || { kill "$HOST_PID" 2>/dev/null || true; wait "$HOST_PID" 2>/dev/null || true; }
  rm -rf "$WORK"
}
trap finish EXIT

build() {
  cargo build --package dunnage --bin dunnage --profile "$PROFILE" && host/init/build.sh && plugins/build.sh
}

start_host() {
  local folder=$PROFILE
  [ "$PROFILE" != dev ] || folder=debug
  PORT=${PORT:-18080}
  URL=http://127.0.0.1:$PORT
  PORT=$PORT DUNNAGE_DATA_DIR=$WORK/data DUNNAGE_PLUGINS=$PWD/examples/plugins.toml DUNNAGE_LOG=warn \
    DUNNAGE_INIT=$(target_dir)/init/dunnage-init "$(target_dir)/$folder/dunnage" &
  HOST_PID=$!
  local tries
  for tries in $(seq 150); do
    curl -sf -o /dev/null "$URL/ready" && break
    kill -0 "$HOST_PID" 2>/dev/null || { echo "The host ended; why stands above." >&2; return 1; }
    sleep 0.2
  done
  [ "$tries" -lt 150 ] || { echo "The host did not become ready in 30 s." >&2; return 1; }
  (umask 077 && printf 'Authorization: Bearer %s' "$(cat "$WORK/data/admin.token")" >"$WORK/header")
}

api() { curl -sS --fail-with-body --header @"$WORK/header" "$@"; }

deploy() {
  tar -C examples/hello-python -czf "$WORK/function.tar.gz" .
  api --form name=hello-python --form "archive=@$WORK/function.tar.gz" "$URL/api/functions/deploy" >"$WORK/deployed.json"
  IMAGE=$(sed -n 's/.*"image_tag":"\([^"]*\)".*/\1/p' "$WORK/deployed.json")
  [ -n "$IMAGE" ] || { echo "The deploy's answer names no image: $(cat "$WORK/deployed.json")" >&2; return 1; }
}

through_host() {
  api --output "$WORK/answer.json" --json '{"body":{"name":"bench"}}' "$URL/api/functions/hello-python/invoke"
  grep -q '"success":true' "$WORK/answer.json"
}

# The same image, handler and limits, by Podman's own command.
by_podman_run() {
  podman run --rm --network none --memory 128m --memory-swap 128m --cpus 1 --pids-limit 64 --read-only \
    --tmpfs /tmp:size=16m,mode=1777 --cap-drop all --security-opt no-new-privileges \
    --security-opt "seccomp=$WORK/data/seccomp.json" --user 65534:65534 --log-driver none \
    --entrypoint /usr/bin/python3 "$IMAGE" -c 'import json, types, main
print(json.dumps(main.handler({"body": {"name": "bench"}}, types.SimpleNamespace(aws_request_id="1"))))' >"$WORK/answer.json"
  grep -q bench "$WORK/answer.json"
}

# timed <file> <command>: adds the microseconds that the command took to the file.
timed() {
  local started=$EPOCHREALTIME ended
  "$2"
  ended=$EPOCHREALTIME
  echo $((${ended/[.,]/} - ${started/[.,]/})) >>"$1"
}

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : int((v[NR / 2] + v[NR / 2 + 1]) / 2) }'; }

measure_cold() {
  through_host
  by_podman_run
  local round
  for round in $(seq "$ROUNDS"); do
    timed "$WORK/host.us" through_host
    timed "$WORK/podman.us" by_podman_run
  done
}

report() {
  local host podman
  host=$(median "$WORK/host.us") podman=$(median "$WORK/podman.us")
  awk -v host="$host" -v podman="$podman" -v rounds="$ROUNDS" -v json="$(target_dir)/bench.json" 'BEGIN {
    ratio = host / podman
    printf "\n%-42s %10s %10s %8s %8s  %s\n", "work (median of " rounds " rounds)", "value", "reference", "ratio", "target", "met"
    printf "%-42s %7.1f ms %7.1f ms %8.2f %8s  %s\n", "cold call / podman run --rm", host / 1000, podman / 1000, ratio, "< 1.00", (ratio < 1 ? "yes" : "no")
    printf "[{\"work\":\"cold call through the host\",\"value\":%.1f,\"unit\":\"ms\",\"reference\":\"podman run --rm, same image and limits: %.1f ms\",\"ratio\":%.3f,\"target\":\"< 1\",\"met\":%s}]\n", host / 1000, podman / 1000, ratio, (ratio < 1 ? "true" : "false") >json
  }'
}

step 'tools' toolchain_ready
step 'Podman' podman_ready
step 'base image' tests/images.sh python
step "build ($PROFILE)" build
step 'host' start_host
step 'deploy' deploy
step "$ROUNDS rounds" measure_cold
report
