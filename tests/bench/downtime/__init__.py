"""How long a VM is off during an import into a cluster, and of what that time consists."""
