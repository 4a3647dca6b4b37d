"""Whether a file can be written to, as far as that can be known before anything is written."""

from __future__ import annotations

import os
from pathlib import Path


def why_not(path: str) -> tuple[str, str] | None:
    """Return (what is wrong, what to do instead) with a file that lines shall be added to, None if nothing is.

    What is there is opened and closed again; nothing is made and nothing changes.
    """
    try:
        file = Path(os.path.realpath(path))
        if file.is_dir():
            return f"{path} is a folder", f"write a file in it, such as {file / 'access.log'}"
        if not file.parent.is_dir():
            return f"the folder {file.parent} does not exist", "make it, or choose another place"
        if file.exists():
            # Not blocking: a pipe that nobody reads is no place to write to.
            os.close(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
        elif file.is_symlink():
            return f"{path} is a link that leads to itself", "remove it"
        elif not os.access(file.parent, os.W_OK | os.X_OK):
            return f"nothing can be written in the folder {file.parent}", f"make it writable for user {os.geteuid()}"
    except (OSError, ValueError) as error:
        said = (error.strerror or "error").lower() if isinstance(error, OSError) else str(error)
        remedy = f"make it writable for user {os.geteuid()}, or choose another place"
        return f"{path} cannot be written to: {said}", remedy
    return None
