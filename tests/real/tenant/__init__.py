"""What a tenant attempts with a token of its own: README.md has the list and the expected results."""
