"""The data path against the common practice and the machine's limits, in one run: `python -m tests.bench`."""
