#!/usr/bin/env bash
# Makes base images from Debian's packages, for machines without a registry:
# localhost/dunnage/python:latest and localhost/dunnage/node:latest.
#
#   tests/images.sh [--force] [python] [node]      without a name: both
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/support/podman.sh

# image <name> <package>...: an image with these packages and busybox as its shell.
image() {
  local name=$1 packages started=$SECONDS
  local tag=localhost/dunnage/$name:latest
  shift
  if [ -z "$FORCE" ] && [ "$(recipe_of "$tag")" = "$RECIPE" ]; then
    echo "$tag is there already."
    return
  fi
  packages=$(IFS=,; echo "busybox-static,base-files,netbase,$*")
  mmdebstrap --quiet --variant=extract --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --extract-hook="$(hook)" "$SUITE" "$WORK/$name.tar"
  podman import --quiet -c 'ENV PATH=/usr/local/bin:/usr/bin:/bin' -c "LABEL org.dunnage.base=$RECIPE" \
    "$WORK/$name.tar" "$tag" >/dev/null
  rm "$WORK/$name.tar"
  echo "$tag was made in $((SECONDS - started)) s."
}

# Which text of this script made an image; nothing where there is none.
recipe_of() { podman image inspect --format '{{index .Labels "org.dunnage.base"}}' "$1" 2>/dev/null || true; }

# Unpacked packages are not set up: what their scripts would have done, and a writable /tmp.
# Single quotes: mmdebstrap gives the root's path as $1.
hook() {
  cat <<'HOOK'
set -e
cd "$1"
mkdir -p tmp shared etc usr/bin
chmod 1777 tmp shared
for shell in sh ls cat cp mv rm mkdir chmod ln env echo test sleep grep sed tar head tail tr find id touch true false; do
  [ -e usr/bin/$shell ] || [ -e bin/$shell ] || ln -s busybox bin/$shell
done
[ -e usr/bin/python3 ] || [ ! -e usr/bin/python3.11 ] || ln -s python3.11 usr/bin/python3
[ -e usr/bin/node ] || [ ! -e usr/bin/nodejs ] || ln -s nodejs usr/bin/node
[ -e etc/passwd ] || printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' > etc/passwd
[ -e etc/group ] || printf 'root:x:0:\nnogroup:x:65534:\n' > etc/group
rm -rf var/cache/apt var/lib/apt/lists/* usr/share/doc usr/share/man usr/share/locale
HOOK
}

# Says what the image is for by running it, within the limits of a function.
try() {
  local name=$1
  shift
  podman run --rm --network none --read-only --memory 256m --user 65534:65534 "localhost/dunnage/$name:latest" /bin/sh -c 'touch /dev/null && exec "$@"' sh "$@" ||
    { echo "localhost/dunnage/$name:latest does not work; --force makes it anew." >&2; return 1; }
}

RECIPE=$(sha256sum tests/images.sh | cut -c1-16)
FORCE=
WANTED=()
for argument in "$@"; do
  case $argument in
    --force) FORCE=1 ;;
    python | node) WANTED+=("$argument") ;;
    *) echo "usage: tests/images.sh [--force] [python] [node]" >&2; exit 64 ;;
  esac
done
[ ${#WANTED[@]} -gt 0 ] || WANTED=(python node)

podman_ready
apt_install mmdebstrap
SUITE=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

for name in "${WANTED[@]}"; do
  case $name in
    python)
      image python python3 libssl3 ca-certificates
      try python python3 -c 'import json, ssl, http.client, http.server, subprocess, sqlite3'
      ;;
    node)
      image node nodejs
      try node node -e 'require("http"); require("crypto").randomBytes(8); JSON.parse("{}")'
      ;;
  esac
done
