"""The stages of an import as small programs, and the documents that they exchange."""

__version__ = "0.1.0"
