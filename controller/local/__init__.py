"""The embedded runner: runs the stages of an import as local processes."""
