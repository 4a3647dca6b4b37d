"""bodies: the JSON that a client sends."""

from __future__ import annotations

import json
from typing import Any


def document(body: bytes) -> Any:
    """Return what a body says, None if it is no JSON that can be read: nested too deeply, for one."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
