"""Compares the data path with the common practice and the host's limits: `python -m tests.bench`."""
