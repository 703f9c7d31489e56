"""What an import's next step depends on, read from the API."""
