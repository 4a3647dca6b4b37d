"""versions: the last configurations that were published, so that a request is explained by the rules it met."""

from __future__ import annotations

from balancer.model.snapshot import Snapshot

KEPT = 16  # versions


class Versions:
    """The last snapshot of each of the last versions; a control that starts anew knows only the one that runs."""

    def __init__(self) -> None:
        self._snapshots: dict[int, Snapshot] = {}

    def keep(self, snapshot: Snapshot) -> None:
        """Remember a snapshot that is published."""
        self._snapshots[snapshot.version] = snapshot
        for version in sorted(self._snapshots)[:-KEPT]:
            del self._snapshots[version]

    def of(self, version: int) -> Snapshot | None:
        """Return the snapshot of a version, None if it is not known any more."""
        return self._snapshots.get(version)
