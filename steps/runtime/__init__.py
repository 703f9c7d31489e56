"""The runtime of the step programs: arguments, signals, files, network, cluster."""
