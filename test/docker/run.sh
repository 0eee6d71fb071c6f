#!/usr/bin/env bash
# The tests in containers, where no image can be pulled: as root on Debian, with docker.io, debootstrap and docker-compose.
#   test/docker/run.sh
# Makes base images of Debian's packages and this machine's Node, starts an engine if none answers (and ends it), and runs
# the tests in containers; arguments are vitest's. With images of one's own:
#   BASE_IMAGE=… NODE_IMAGE=… POSTGRES_IMAGE=… PROMETHEUS_IMAGE=… test/docker/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
engine=
finish() {
  if [[ $engine ]]; then
    kill "$engine"
    wait "$engine" || true
  fi
  rm -rf --one-file-system "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

if ! docker version >/dev/null 2>&1 && [[ $(id -u) == 0 ]] && command -v dockerd >/dev/null; then
  dockerd --data-root "${DOCKER_DATA_ROOT:-$work/docker}" >"$work/dockerd.log" 2>&1 &
  engine=$!
  for ((i = 0; i < 60; i++)); do
    if docker version >/dev/null 2>&1; then break; fi
    sleep 1
  done
fi

have() { docker image inspect "$1" >/dev/null 2>&1; }

# base: a root file system of Debian's packages.
base=follower-test-base
base() {
  have $base || {
    debootstrap --variant=minbase bookworm "$work/root" >"$work/debootstrap.log"
    tar -C "$work/root" -c . | docker import - $base
  }
}

if [[ ! ${BASE_IMAGE:-} ]]; then
  base
  export BASE_IMAGE=$base
fi
if [[ ! ${NODE_IMAGE:-} ]]; then
  export NODE_IMAGE=follower-test-node
  have $NODE_IMAGE || {
    mkdir -p "$work/node"
    cp "$(node -p process.execPath)" "$work/node/node"
    cp -rL "$(npm root --global)/npm" "$work/node/npm"
    # Where a firewall signs what it lets through, this machine knows its certificate.
    cp "${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}" "$work/node/ca.crt"
    docker build -q -t $NODE_IMAGE -f - "$work/node" <<EOF
FROM $base
COPY node /usr/local/bin/
COPY npm /usr/local/lib/node_modules/npm
COPY ca.crt /etc/ssl/certs/ca-certificates.crt
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
EOF
  }
fi
if [[ ! ${POSTGRES_IMAGE:-} ]]; then
  export POSTGRES_IMAGE=follower-test-postgres
  have $POSTGRES_IMAGE || {
    docker build -q --network host --build-arg BASE=$base -t $POSTGRES_IMAGE test/docker/postgres
  }
fi
if [[ ! ${PROMETHEUS_IMAGE:-} ]]; then
  export PROMETHEUS_IMAGE=follower-test-prometheus
  have $PROMETHEUS_IMAGE || {
    docker build -q --network host -t $PROMETHEUS_IMAGE - <<EOF
FROM $base
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus >/dev/null \
    && install -d -o nobody /prometheus
USER nobody
ENTRYPOINT ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
EOF
  }
fi

FOLLOWER_SLOW=1 FOLLOWER_DOCKER=1 npx vitest run test/docker.slow.test.ts test/testcontainers.slow.test.ts "$@"
