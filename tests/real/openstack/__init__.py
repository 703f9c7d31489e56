"""Tests against the real OpenStack services, and the programs that start them (README.md)."""
