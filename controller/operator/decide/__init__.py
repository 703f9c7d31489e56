"""What is to be done about an import, from what was observed. Pure."""
