#!/usr/bin/env bash
# Sets up what the tests need, for real, and runs them: Podman, base images, plugins, PostgreSQL,
# an S3 server; then formatting, lints and tests.
#
#   tests/run.sh [cargo test's arguments]      tests/run.sh deploy::
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/support/steps.sh
. tests/support/podman.sh
. tests/support/services.sh

# CI may keep what it compiled; nothing needs it kept.
if [ -n "${CI:-}" ]; then
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/dunnage/target}
fi

WORK=$(mktemp -d)
chmod 755 "$WORK"
cleanup() {
  stop_services || true
  [ -z "${PODMAN_PID:-}" ] || kill "$PODMAN_PID" 2>/dev/null || true
  rm -rf "$WORK"
}
trap cleanup EXIT

start_podman_service() {
  # conmon leaves a file named oom in the service's directory.
  (cd "$WORK" && exec podman --log-level=error system service --time=0 "unix://$WORK/podman.sock") &
  PODMAN_PID=$!
  local tries
  for tries in $(seq 100); do
    curl -sf --unix-socket "$WORK/podman.sock" http://d/libpod/_ping >/dev/null && break
    sleep 0.1
  done
  [ "$tries" -lt 100 ] || { echo "Podman's service did not answer in 10 s." >&2; return 1; }
  export DUNNAGE_TEST_PODMAN_SOCKET=$WORK/podman.sock
}

# The guests are a workspace of their own, built apart.
guests() {
  (cd plugins && CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/cargo}${CARGO_TARGET_DIR:+/plugins} cargo "$@")
}

lint() {
  cargo fmt --all --check && cargo clippy --workspace --all-targets -- --deny warnings || return 1
  guests fmt --all --check && guests clippy --workspace --all-targets --locked -- --deny warnings
}

# Runs every test and closes with the sum of what the test programs said.
run_tests() {
  local status=0
  { guests test --workspace --all-targets --locked && cargo test --workspace --all-targets "$@"; } 2>&1 |
    tee "$WORK/tests.log" || status=1
  awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
    END { printf "\ntests: %d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$WORK/tests.log"
  return $status
}

step 'tools' toolchain_ready
step 'Podman' podman_ready
step 'base images' tests/images.sh
step 'Podman service' start_podman_service
step 'PostgreSQL' start_postgres "$WORK/postgres"
step 'S3' start_s3 "$WORK/s3"
step 'dunnage-init' host/init/build.sh
export DUNNAGE_TEST_INIT=$(target_dir)/init/dunnage-init
step 'static example' examples/hello-static/build.sh
export DUNNAGE_TEST_HELLO_STATIC=$PWD/examples/hello-static/target/hello-static
step 'plugins' plugins/build.sh
step 'format and lints' lint
step 'test build' cargo test --workspace --all-targets --no-run
printf '\n== all but the tests took %s s.\n' "$SECONDS"
run_tests "$@"
