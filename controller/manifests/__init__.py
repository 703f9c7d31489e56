"""Reads manifests and resolves them to imports."""
