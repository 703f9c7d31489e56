"""What a person asks of an import in a cluster, for the command line and for other clients."""
