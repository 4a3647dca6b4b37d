"""A second opinion: h11 reads what the balancer sent, and must read the same requests that the recorder read."""

from __future__ import annotations

import h11


def requests_seen_by_h11(log: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Return (method, target, body) of each whole request on a connection; raises h11.RemoteProtocolError."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=128 * 1024)
    connection.receive_data(log)
    found: list[tuple[bytes, bytes, bytes]] = []
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return found
        assert isinstance(event, h11.Request), event
        body = bytearray()
        while not isinstance(part := connection.next_event(), h11.EndOfMessage):
            if part is h11.NEED_DATA:
                return found
            assert isinstance(part, h11.Data), part
            body += part.data
        found.append((event.method, event.target, bytes(body)))
        connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return found
        connection.start_next_cycle()
