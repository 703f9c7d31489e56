"""The stages of an import as small programs, and the documents that travel between them."""

__version__ = "0.1.0"
