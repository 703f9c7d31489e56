#!/usr/bin/env bash
# Pins the OpenStack services of the tests, with hashes (needs uv).
set -euo pipefail
cd "$(dirname "$0")/../../.."
uv pip compile tests/real/openstack/requirements.in --quiet --generate-hashes --python-version 3.11 \
  --no-header --no-annotate --output-file tests/real/openstack/requirements.txt
