#!/usr/bin/env bash
# Builds the program and packs it as a function: target/function.tar.gz, to be deployed with
# --form 'config={"language":"static","entrypoint":"hello-static"}'.
set -euo pipefail
cd "$(dirname "$0")"
machine=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS='-C target-feature=+crt-static' CARGO_TARGET_DIR=$PWD/target cargo build --release --target "$machine"
cp "target/$machine/release/hello-static" target/hello-static
tar -C target -czf target/function.tar.gz hello-static
