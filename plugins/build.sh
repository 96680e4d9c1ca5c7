#!/usr/bin/env bash
# Builds the plugins of this folder as WebAssembly components: plugins/target/NAME.wasm.
#
# Wants rustc's wasm32-unknown-unknown target, which rustup adds in seconds. Where it cannot be had,
# Debian's compiler builds the standard library for the target from source, which takes a minute.
# What is up to date is not built again, and then nothing is fetched.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v apt_install >/dev/null || . tests/support/podman.sh
cd plugins

PLUGINS=(dockerfile-templates limits-policy redact)
TARGET=wasm32-unknown-unknown
OUT=$PWD/target
# Other flags and another target than the host's: a directory of its own, so that neither has the
# other's work done again.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:+$CARGO_TARGET_DIR/plugins}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$OUT/cargo}
unset RUSTFLAGS

has_target() { [ -e "$(rustc --print sysroot)/lib/rustlib/$TARGET/lib" ]; }

# rustup's answer when it has no network comes at once; one that never comes is cut off.
add_target() {
  command -v rustup >/dev/null || return 1
  timeout 180 rustup target add "$TARGET" >/dev/null 2>&1 && has_target
}

has_debian_compiler() { command -v dpkg >/dev/null && dpkg -s rust-web-src rustc-web >/dev/null 2>&1; }

# Paths of this machine would end up in the text of panics.
build_guests() {
  local cargo_home=${CARGO_HOME:-$HOME/.cargo}
  local flags=(--remap-path-prefix="$cargo_home=/cargo" --remap-path-prefix="$PWD=/plugins")
  local packages=() plugin
  for plugin in "${PLUGINS[@]}"; do packages+=(--package "$plugin"); done
  CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}") \
    cargo build --locked --release --target "$TARGET" "${packages[@]}" "$@"
}

# Debian packages a newer compiler for its browsers, with the sources of its standard library.
# Their dependencies come from crates.io, by the lock file that is packed with them.
build_guests_with_debian() {
  apt_install rustc-web libstd-rust-web-dev rust-web-src || return 1
  local rustc linker
  rustc=$(dpkg -L rustc-web | grep -E '/bin/rustc$' | head -n1)
  linker=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/rust-lld
  if [ ! -x "$linker" ]; then
    echo "The linker rust-lld is missing beside $(rustc --version): install Rust with rustup, which brings it." >&2
    return 1
  fi
  RUSTC=$rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker \
    build_guests -Zbuild-std=std,panic_abort
}

# Once Debian's compiler is here, rustup is not asked again at each run.
if has_target || { ! has_debian_compiler && add_target; }; then
  build_guests
else
  echo "The target $TARGET is not here, and rustup cannot add it: Debian's compiler is used instead."
  if ! build_guests_with_debian; then
    echo "The plugins could not be built. With a network, \`rustup target add $TARGET\` is all that is missing." >&2
    exit 1
  fi
fi

cargo build --locked --quiet --package componentize
mkdir -p "$OUT"
for plugin in "${PLUGINS[@]}"; do
  "$CARGO_TARGET_DIR/debug/componentize" \
    "$CARGO_TARGET_DIR/$TARGET/release/${plugin//-/_}.wasm" "$OUT/$plugin.wasm"
done
