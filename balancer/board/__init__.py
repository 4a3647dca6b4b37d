"""Memory shared by all processes: counters, target states, heartbeats."""
