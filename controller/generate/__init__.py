"""Writes manifests from the inventory of a source."""
