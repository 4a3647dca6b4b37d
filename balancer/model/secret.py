"""secret: which header fields and query keys hold what is nobody's business, and what is shown in its place. Pure."""

from __future__ import annotations

MASK = "***"
ANY = "*"  # in a rule: there must be a value, whichever
_WORDS = ("auth", "cookie", "credential", "key", "passwd", "password", "secret", "session", "signature", "token")


def is_secret(name: str) -> bool:
    """Return whether the value of a header field or of a query key is nobody's business."""
    lower = name.lower()
    return any(word in lower for word in _WORDS)


def masked(name: str, value: str) -> str:
    """Return the value as it may be shown."""
    return MASK if value != ANY and is_secret(name) else value
