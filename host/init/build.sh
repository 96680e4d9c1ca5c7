#!/usr/bin/env bash
# Builds dunnage-init as a static program, which runs in any image, `FROM scratch` included:
# {cargo's target directory}/init/dunnage-init.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/support/steps.sh
target=$(target_dir)/init
machine=$(rustc -vV | sed -n 's/^host: //p')
# A directory of its own: other flags would have cargo build all dependencies again and again.
RUSTFLAGS='-C target-feature=+crt-static' CARGO_TARGET_DIR=$target \
  cargo build --package dunnage-init --release --target "$machine"
cp "$target/$machine/release/dunnage-init" "$target/dunnage-init.new"
mv "$target/dunnage-init.new" "$target/dunnage-init"
