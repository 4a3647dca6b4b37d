"""Which target: policies, zones, retries. Pure."""
