"""What a step program needs to run: arguments, signals, files, network, cluster."""
