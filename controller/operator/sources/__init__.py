"""Reconciles the sources: whether each can be used."""
