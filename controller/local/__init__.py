"""The embedded runner: the stages of an import as processes of this machine."""
