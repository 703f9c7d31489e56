#!/usr/bin/env bash
# Builds the images of images/Containerfile for the lab; those whose sources are unchanged are left as they are.
set -euo pipefail
cd "$(dirname "$0")/../.."
stamps=.cache/lab/images
mkdir -p "$stamps"
tag=$(sed -n 's/^appVersion: *"\?\([^"]*\)"\?$/\1/p' charts/vmferry/Chart.yaml)
sources=$(find images requirements pyproject.toml steps workflows controller -type f -not -name '*.pyc' -print0 |
  sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
for target in vmware disk serve target controller; do
  stamp=$stamps/vmferry-$target.sources
  [ "$(cat "$stamp" 2>/dev/null || true)" != "$sources" ] || [ ! -e "$stamps/$target-$tag.tar" ] || continue
  began=$SECONDS
  tests/lab/image "vmferry/$target:$tag" --target "$target" --build-arg BASE=lab.local/debian:12 \
    --file images/Containerfile . >/dev/null
  printf %s "$sources" >"$stamp"
  echo "image $target: $((SECONDS - began)) s"
done
