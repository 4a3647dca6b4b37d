"""Is a target well: thresholds, states, ejection. Pure."""
