#!/usr/bin/env bash
# Pins every extra with hashes: what an image installs is what was tested. No address of an index is written,
# so that each machine's own configuration says where packages come from.
set -euo pipefail
cd "$(dirname "$0")/.."

compile() { # compile NAME ARGUMENTS...
  local name=$1
  shift
  uv pip compile pyproject.toml "$@" --quiet --generate-hashes --universal --python-version 3.11 \
    --no-header --output-file "requirements/$name.txt"
}

compile dev --extra local --extra target --extra controller --group build --group test --group lint
# the others as dev has them: an image may install two of them, and the tests ran with these
for extra in vmware openstack ova ovirt kubevirt disk guest serve directory target controller; do
  compile "$extra" --extra "$extra" --constraint requirements/dev.txt
done
compile build --group build --constraint requirements/dev.txt
compile docs --group docs
compile mutants --extra local --extra target --extra controller --group build --group test --group mutants \
  --constraint requirements/dev.txt
