"""A self-hosted traffic tier for Docker: listeners, policies, zones, health checks, and the reason why."""

__version__ = "0.1.0"


def compiled() -> bool:
    """Return whether the data path of this installation is compiled (`make build-fast`, the image) or interpreted."""
    from importlib.machinery import PathFinder

    found = PathFinder.find_spec("balancer.data.http.exchange", [f"{__path__[0]}/data/http"])
    return found is not None and not str(found.origin).endswith(".py")
