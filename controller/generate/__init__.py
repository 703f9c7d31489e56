"""Manifests written for a person from what a source has."""
