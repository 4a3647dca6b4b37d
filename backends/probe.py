"""`python -m backends.probe [PATH]`: ask the backend in this container and print its answer.

Exit 0 when it answers below 400, else 1. Standard library only: it is the container's health check, and a slim image
has no curl.
"""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT = 2.0


def main() -> int:
    """Ask for PATH (default /healthz) on the loopback; return the exit code."""
    path = sys.argv[1] if len(sys.argv) > 1 else "/healthz"
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT", "8000")), timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        sys.stdout.write(answer.read().decode())
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer on port {connection.port}: {error}", file=sys.stderr)
        return 1
    return 0 if answer.status < 400 else 1


if __name__ == "__main__":
    sys.exit(main())
