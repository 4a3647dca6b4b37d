"""Which rule: patterns and the router. Pure."""
