#!/usr/bin/env bash
# Installs the Debian packages that tests/real/ovirt needs, and builds ovirt-imageio and the engine's SDK.
#   prepare.sh packages venv      one or both, in this order; a second call takes a moment
set -euo pipefail
cd "$(dirname "$0")/../../.."

VENV=.cache/ovirt/venv
REQUIREMENTS=tests/real/ovirt/requirements.txt
# what compiles the two source distributions, and what serves a disk
WANTED=(gcc libc6-dev python3-dev libxml2-dev qemu-utils util-linux)

die() { printf 'error: %s\n' "$*" >&2; exit 1; }

packages() {
  local missing=() name
  for name in "${WANTED[@]}"; do
    dpkg-query -W -f='${Status}\n' "$name" 2>/dev/null | grep -q 'install ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] ||
    die "Debian packages are missing: ${missing[*]}; as root, run: apt-get install -y ${missing[*]}"
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

venv() {
  local inputs build=.cache/ovirt/build.txt
  inputs=$(sha256sum "$REQUIREMENTS" | cut -d' ' -f1)-$(python3 -c 'import sys; print(sys.version)' | tr -d '\n')
  [ "$(cat "$VENV.done" 2>/dev/null || true)" != "$inputs" ] || [ ! -x "$VENV/bin/ovirt-imageio" ] || return 0
  mkdir -p .cache/ovirt
  rm -f "$VENV.done"
  python3 -m venv --clear "$VENV"
  # first what builds the others, so that a build needs nothing that is not pinned
  sed -n '/^setuptools==/,$p' "$REQUIREMENTS" >"$build"
  "$VENV/bin/pip" install --disable-pip-version-check --no-deps --require-hashes -r "$build"
  "$VENV/bin/pip" install --disable-pip-version-check --no-deps --require-hashes --no-build-isolation -r "$REQUIREMENTS"
  "$VENV/bin/python" -c 'import ovirtsdk4.types, ovirt_imageio.client'
  printf %s "$inputs" >"$VENV.done"
}

[ $# -gt 0 ] || die "usage: $0 packages|venv ..."
for what in "$@"; do
  case $what in
  packages | venv) "$what" ;;
  *) die "unknown: $what" ;;
  esac
done
