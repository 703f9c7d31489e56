"""What watches and writes: the command line, the embedded runner, and the Kubernetes controller."""
