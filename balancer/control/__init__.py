"""The one process that knows: configuration, discovery, health, admin."""
