"""Processes talking over socket pairs: small messages, descriptors travelling along."""
