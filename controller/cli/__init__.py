"""The command line `vmferry`: options, tables, progress, exit codes."""
