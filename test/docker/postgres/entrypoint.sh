#!/bin/sh
# What the official image's entrypoint does, as far as docker/compose.yaml and the tests need it.
set -eu
data=/var/lib/postgresql/data
if [ ! -s "$data/PG_VERSION" ]; then
  printf '%s' "${POSTGRES_PASSWORD:?}" >/tmp/password
  initdb -D "$data" -U postgres -A scram-sha-256 --auth-local=trust --pwfile=/tmp/password >/dev/null
  rm /tmp/password
  echo 'host all all all scram-sha-256' >>"$data/pg_hba.conf"
  pg_ctl -D "$data" -w -o "-c listen_addresses=''" start >/dev/null
  createdb -U postgres "${POSTGRES_DB:-app}"
  pg_ctl -D "$data" -w stop >/dev/null
fi
exec "$@" -D "$data" -c listen_addresses='*'
