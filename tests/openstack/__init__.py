"""Tests against the real OpenStack services, and what starts them (README.md)."""
