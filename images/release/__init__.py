"""Makes a release: images as OCI archives, an SBOM for each, the chart with their digests, and checksums.

    python -m images.release --base debian:12-slim@sha256:…

docs/contributing/release.md explains it.
"""
