"""Requests to an import in a cluster, for the command line and other clients."""
