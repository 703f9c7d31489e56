#!/usr/bin/env bash
# Pins ovirt-imageio and the engine's SDK for the tests, with hashes (needs uv).
set -euo pipefail
cd "$(dirname "$0")/../../.."
uv pip compile tests/real/ovirt/requirements.in --quiet --generate-hashes --python-version 3.11 \
  --no-header --no-annotate --output-file tests/real/ovirt/requirements.txt
