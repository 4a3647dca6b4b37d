"""The compose file as it stands: containers, networks, names, signals; needs a Docker engine."""
