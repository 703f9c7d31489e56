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

for extra in vmware serve directory; do compile "$extra" --extra "$extra"; done
compile dev --extra local --group build --group test --group lint
