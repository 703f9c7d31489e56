"""Manifests that a person gives, from files to imports that can be run."""
