"""Which changes of the code no test notices: `python -m tests.mutants`, with mutmut and in a copy."""
