"""A self-hosted traffic tier for Docker: listeners, policies, zones, health checks, and the reason why."""

__version__ = "0.1.0"
