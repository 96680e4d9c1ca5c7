# A sourced library: packages of the distribution, and a Podman that enforces limits here.

# iptables is for netavark: without it a build with a network has none.
DUNNAGE_PODMAN_PACKAGES=(podman runc crun conmon uidmap slirp4netns fuse-overlayfs netavark aardvark-dns catatonit iptables)
DUNNAGE_CONTAINERS_CONF=${XDG_CACHE_HOME:-$HOME/.cache}/dunnage/containers.conf

# apt_install <package>...: installs those that are missing, by sudo when not root.
apt_install() {
  local package missing=()
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "Please install what Debian calls ${missing[*]}: there is no apt-get here to do it." >&2
    return 1
  fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || ! sudo true; then
      echo "Please run as root, or with sudo at hand: apt-get install ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  _apt "${as_root[@]}" || return 1
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends "${missing[@]}" >&2; then
    echo "apt-get could not install ${missing[*]}; its reason stands above." >&2
    return 1
  fi
}

# Brings apt's lists up to date when they are absent or older than a day.
_apt() {
  local fresh
  fresh=$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mtime -1 -print -quit 2>/dev/null)
  [ -z "$fresh" ] || return 0
  "$@" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 || {
    echo "apt-get update failed; its reason stands above." >&2
    return 1
  }
}

# podman_ready: Podman is installed and runs a container within limits. Where its defaults do not
# work, a configuration of our own is named by CONTAINERS_CONF; the machine's files stay as they are.
podman_ready() {
  command -v podman >/dev/null || apt_install "${DUNNAGE_PODMAN_PACKAGES[@]}" || return 1
  apt_install busybox-static || return 1
  _podman_tries && return 0
  if [ -z "${CONTAINERS_CONF:-}" ]; then
    _write_containers_conf || return 1
    export CONTAINERS_CONF=$DUNNAGE_CONTAINERS_CONF
    _podman_tries && return 0
  fi
  echo "Podman does not run a container with limits here: $_PODMAN_ERROR" >&2
  return 1
}

# One container from an image of nothing but a shell, with the limits that functions get.
_podman_tries() {
  local image=localhost/dunnage/probe:latest
  if ! podman image exists "$image" 2>/dev/null; then
    _PODMAN_ERROR=$(_import_probe "$image" 2>&1) || return 1
  fi
  _PODMAN_ERROR=$(podman run --rm --network none --memory 32m --memory-swap 32m --cpus 0.5 --pids-limit 16 \
    --read-only --cap-drop all --user 65534:65534 "$image" /bin/sh -c 'exit 0' 2>&1) || return 1
  case $_PODMAN_ERROR in
    *"limits are not supported"* | *"limits are ignored"*) return 1 ;;
  esac
}

_import_probe() {
  local root status=0
  root=$(mktemp -d) || return 1
  mkdir "$root/bin" && cp "$(command -v busybox)" "$root/bin/sh" || status=1
  [ $status -ne 0 ] || tar -C "$root" -c . | podman import - "$1" >/dev/null || status=1
  rm -rf "$root"
  return $status
}

_write_containers_conf() {
  mkdir -p "$(dirname "$DUNNAGE_CONTAINERS_CONF")" || return 1
  cat >"$DUNNAGE_CONTAINERS_CONF.new" <<CONF || return 1
# Written by tests/support/podman.sh for machines on which Podman's defaults fail.
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
CONF
  mv "$DUNNAGE_CONTAINERS_CONF.new" "$DUNNAGE_CONTAINERS_CONF"
}
