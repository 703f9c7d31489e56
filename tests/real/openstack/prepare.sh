#!/usr/bin/env bash
# Installs the Debian packages that tests/real/openstack needs, without starting any service, and builds the services'
# environment.
#   prepare.sh packages venv      one or both, in this order; a second call takes a moment
set -euo pipefail
cd "$(dirname "$0")/../../.."

die() { printf 'error: %s\n' "$*" >&2; exit 1; }

WANTED=(
  mariadb-server:mariadbd mariadb-client:mariadb rabbitmq-server:/usr/lib/rabbitmq/bin/rabbitmq-server
  erlang-base:epmd qemu-utils:qemu-img nginx-light:nginx openssl:openssl
)

missing() {
  local pair name file
  for pair in "${WANTED[@]}"; do
    name=${pair%%:*} file=${pair#*:}
    PATH=$PATH:/usr/sbin:/sbin command -v "$file" >/dev/null 2>&1 || echo "$name"
  done
}

install() { # Debian's packages must not start services on a host that only needs the programs
  local guard=/usr/sbin/policy-rc.d made='' status=0
  if [ ! -e "$guard" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$guard" && chmod +x "$guard" && made=yes
  fi
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; } ||
    status=$?
  [ -z "$made" ] || rm -f "$guard"
  return $status
}

packages() {
  local names log
  mapfile -t names < <(missing)
  [ ${#names[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "missing Debian packages; as root: apt-get install -y ${names[*]}"
  command -v apt-get >/dev/null || die "no apt-get here; install the equivalents of: ${names[*]}"
  mkdir -p .cache
  log=$(mktemp .cache/openstack-packages.XXXXXX)
  printf 'prepare: installing %s ...\n' "${names[*]}"
  install "${names[@]}" >"$log" 2>&1 || { tail -30 "$log" >&2; die "that failed; its whole output is in $log"; }
  rm -f "$log"
}

venv() {
  python3 -m tests.real.openstack.stack install
}

[ $# -gt 0 ] || die "usage: $0 packages|venv ..."
for what in "$@"; do
  case $what in
  packages | venv) "$what" ;;
  *) die "unknown: $what" ;;
  esac
done
