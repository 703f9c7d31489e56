#!/usr/bin/env bash
# Prepares a Debian host for `make demo` and `make test`; a second call takes a moment.
#   prepare.sh packages python docs mutants vcenter guest libguestfs v2v kubevirt crds policies helm buildah syft openstack ovirt
#   any of these, in this order
# Everything is under .cache; only Debian packages are installed outside it, and only by root.
set -euo pipefail
cd "$(dirname "$0")/.."
CACHE=$PWD/.cache
mkdir -p "$CACHE/bin"

say() { printf 'prepare: %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# fresh NAME INPUTS: whether NAME was already done for these inputs
fresh() { [ "$(cat "$CACHE/$1.done" 2>/dev/null || true)" = "$2" ]; }
done_for() { printf %s "$2" >"$CACHE/$1.done"; }
hash_of() { cat "$@" | sha256sum | cut -d' ' -f1; }

# run TITLE COMMAND...: quiet, prints the duration; shows the output if it fails
run() {
  local title=$1 log began=$SECONDS
  shift
  log=$(mktemp "$CACHE/prepare.XXXXXX")
  say "$title ..."
  if ! "$@" >"$log" 2>&1; then
    tail -30 "$log" >&2
    die "$title failed; the whole output is in $log"
  fi
  rm -f "$log"
  say "$title: $((SECONDS - began)) s"
}

WANTED=(
  qemu-utils:qemu-img qemu-system-x86:qemu-system-x86_64 nginx-light:nginx curl:curl
  e2fsprogs:mkfs.ext4 util-linux:losetup ovmf:/usr/share/OVMF/OVMF_CODE_4M.fd swtpm:swtpm
)

missing() {
  local pair name file
  for pair in "${WANTED[@]}"; do
    name=${pair%%:*} file=${pair#*:}
    PATH=$PATH:/usr/sbin:/sbin command -v "$file" >/dev/null 2>&1 || [ -e "$file" ] || echo "$name"
  done
  while read -r name; do
    dpkg-query -W -f='${Status}\n' "$name" 2>/dev/null | grep -q 'install ok installed' || echo "$name"
  done < <(grep -v '^#' tests/real/guest/packages.txt)
  python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

missing_v2v() {
  local name
  while read -r name; do
    dpkg-query -W -f='${Status}\n' "$name" 2>/dev/null | grep -q 'install ok installed' || echo "$name"
  done < <(grep -v '^#' tests/real/adaptation/packages.txt)
}

missing_libguestfs() {
  local name
  while read -r name; do
    dpkg-query -W -f='${Status}\n' "$name" 2>/dev/null | grep -q 'install ok installed' || echo "$name"
  done < <(grep -v '^#' tests/real/inspection/packages.txt)
  # Its appliance runs the kernel of any such package.
  compgen -G '/boot/vmlinuz-*' >/dev/null || echo linux-image-cloud-amd64
}

install() { # keeps Debian packages from starting services
  local guard=/usr/sbin/policy-rc.d made=
  if [ ! -e "$guard" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$guard" && chmod +x "$guard" && made=yes
  fi
  local status=0
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; } ||
    status=$?
  [ -z "$made" ] || rm -f "$guard"
  return $status
}

packages() { install_what missing; }

libguestfs() { install_what missing_libguestfs; } # looks into disks; large, so the demo does without it

v2v() { # adapts guests: virt-v2v and what it opens disks with, in addition to libguestfs
  libguestfs
  install_what missing_v2v
}

install_what() { # install_what COMMAND: the packages that it prints
  local names
  mapfile -t names < <("$1" | sort -u)
  [ ${#names[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "Debian packages are missing: ${names[*]}; as root, run: apt-get install -y ${names[*]}"
  command -v apt-get >/dev/null || die "apt-get is missing; install the equivalents of: ${names[*]}"
  run "installing ${names[*]}" install "${names[@]}"
}

python() {
  local inputs
  command -v python3 >/dev/null || die "python3 is missing; as root, run: apt-get install -y python3 python3-venv"
  inputs=$(hash_of requirements/dev.txt pyproject.toml)-$(python3 -c 'import sys; print(sys.version)' | tr -d '\n')
  ! fresh python "$inputs" || return 0
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "python3 is older than 3.11; install Python 3.11 or later"
  run "Python environment" environment "$CACHE/venv" requirements/dev.txt
  done_for python "$inputs"
}

environment() { # environment FOLDER REQUIREMENTS
  python3 -m venv --clear "$1"
  "$1/bin/pip" install --disable-pip-version-check --no-deps --require-hashes -r "$2"
  "$1/bin/pip" install --disable-pip-version-check --no-deps --no-build-isolation -e .
}

docs() { # what `make docs` builds with, apart from what the tests run with
  local inputs
  inputs=$(hash_of requirements/docs.txt)-$(python3 -c 'import sys; print(sys.version)' | tr -d '\n')
  ! { fresh docs "$inputs" && [ -x "$CACHE/docs/venv/bin/sphinx-build" ]; } || return 0
  run "Sphinx" sphinx
  done_for docs "$inputs"
}

sphinx() {
  python3 -m venv --clear "$CACHE/docs/venv"
  "$CACHE/docs/venv/bin/pip" install --disable-pip-version-check --no-deps --require-hashes -r requirements/docs.txt
}

mutants() { # what `make mutants` runs the tests with: the same, and mutmut
  local inputs
  inputs=$(hash_of requirements/mutants.txt pyproject.toml)-$(python3 -c 'import sys; print(sys.version)' | tr -d '\n')
  ! { fresh mutants "$inputs" && [ -x "$CACHE/mutants/venv/bin/mutmut" ]; } || return 0
  run "mutmut" environment "$CACHE/mutants/venv" requirements/mutants.txt
  done_for mutants "$inputs"
}

# Go programs of the tests; each detects itself whether it is stale
go_program() { # go_program TITLE NAME FOLDER
  command -v go >/dev/null || die "Go is missing: it builds the $1; install Go 1.24 or later"
  [ -x "$CACHE/bin/$2" ] && [ -z "$(find "$3" -name '*.go' -newer "$CACHE/bin/$2" -o -name 'go.*' -newer "$CACHE/bin/$2")" ] ||
    run "$1" "$CACHE/venv/bin/python" -c "from pathlib import Path; from tests.real.goprogram import build; build('$2', Path('$3').absolute())"
}

vcenter() { go_program "simulated vCenter" vcenter tests/real/vcenter; }
kubevirt() { go_program "strict decoder of KubeVirt's types" strict-decode tests/real/kubevirt; }
crds() { go_program "API server's judge of CRDs" crd-check tests/real/crd/go; }
policies() { go_program "API server's judge of admission policies" policy-check tests/real/policy/go; }

HELM=v3.22.0
helm() { # renders the chart in tests; not in Debian
  ! { fresh helm "$HELM" && [ -x "$CACHE/bin/helm" ]; } || return 0
  command -v go >/dev/null || die "Go is missing: it builds helm; install Go 1.24 or later"
  run "helm $HELM" env GOBIN="$CACHE/bin" go install "helm.sh/helm/v3/cmd/helm@$HELM"
  done_for helm "$HELM"
}

buildah() { # builds the images of a release
  ! command -v buildah >/dev/null || return 0
  [ "$(id -u)" = 0 ] || die "buildah is missing; as root, run: apt-get install -y buildah"
  run "installing buildah" install buildah
}

SYFT=v1.57.1
syft() { # writes the SBOMs of a release; not in Debian
  ! { fresh syft "$SYFT" && [ -x "$CACHE/bin/syft" ]; } || return 0
  command -v go >/dev/null || die "Go is missing: it builds syft; install Go 1.25 or later"
  run "syft $SYFT" env GOBIN="$CACHE/bin" CGO_ENABLED=0 go install "github.com/anchore/syft/cmd/syft@$SYFT"
  done_for syft "$SYFT"
}

openstack() { # its services, from Debian and PyPI
  tests/real/openstack/prepare.sh packages
  run "OpenStack's services" tests/real/openstack/prepare.sh venv
}

ovirt() { # ovirt-imageio and the SDK of oVirt's engine, from Debian and PyPI
  tests/real/ovirt/prepare.sh packages
  run "ovirt-imageio and the SDK" tests/real/ovirt/prepare.sh venv
}

guest() { # prints its own progress and skips what is unchanged
  tests/real/guest/build.sh "$CACHE/guest"
}

[ $# -gt 0 ] ||
  die "usage: $0 packages|python|docs|mutants|vcenter|guest|libguestfs|v2v|kubevirt|crds|policies|helm|buildah|syft|openstack|ovirt ..."
for what in "$@"; do
  case $what in
  packages | python | docs | mutants | vcenter | guest | libguestfs | v2v | kubevirt | crds | policies | helm | buildah | syft | openstack | ovirt) "$what" ;;
  *) die "unknown: $what" ;;
  esac
done
