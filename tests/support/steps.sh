# A sourced library: named, timed steps, and the tools that a build needs.

# step <title> <command>...: runs it and says how long it took; ends the script where it fails.
step() {
  local title=$1 started=$SECONDS
  shift
  printf '\n== %s\n' "$title"
  if ! "$@"; then
    printf '== %s failed after %s s; what to do stands above.\n' "$title" "$((SECONDS - started))" >&2
    exit 1
  fi
  printf '== %s took %s s.\n' "$title" "$((SECONDS - started))"
}

# What a build needs beyond the distribution's packages.
toolchain_ready() {
  apt_install gcc libc6-dev make curl ca-certificates || return 1
  if ! command -v cargo >/dev/null; then
    echo "Rust is missing: install 1.95 or newer with rustup, then run this again." >&2
    return 1
  fi
  local version
  version=$(rustc --version | cut -d' ' -f2)
  if [ "$(printf '%s\n' 1.95.0 "$version" | sort -V | head -n1)" != 1.95.0 ]; then
    echo "Rust $version is too old: run rustup update, 1.95 is needed." >&2
    return 1
  fi
}

# Where cargo writes, as an absolute path.
target_dir() {
  cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}
