"""Decides the actions for an import from what was observed. Pure."""
