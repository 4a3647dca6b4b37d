"""The whole product on loopback, without Docker, as a story to watch."""
