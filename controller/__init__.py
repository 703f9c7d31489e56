"""The command line, the embedded runner, and the Kubernetes controller."""
