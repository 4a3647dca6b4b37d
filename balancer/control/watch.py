"""watch: notices that the configuration's files have changed, by looking at them; events of the kernel miss too much.

Rename over a file, a swapped symlink and a mounted folder are all seen, because names are followed anew each time. A
single file that is bind-mounted and replaced on the host cannot be seen: the mount goes on showing the old one, whose
link count is then 0, and that much can be told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from balancer.config.source import MAX_BYTES

PERIOD = 0.3  # seconds between two looks

Look = tuple[tuple[str, int, int, int], ...]


class Watch:
    """The files of the configuration as they were last read, and as they looked last."""

    def __init__(self, config: Path) -> None:
        """`config`: the file or folder; further files are those that a load has named."""
        self._config = config
        self._files: tuple[Path, ...] = ()
        self._seen: Look | None = None  # the last look
        self._settled: Look | None = None  # the look that has been dealt with
        self._digest = b""
        self._before = b""
        self._replaced: set[Path] = set()

    def about_to_load(self) -> None:
        """Remember the content before a load, so that what is written during it is seen after it."""
        self._before = self._read()

    def loaded(self, files: Iterable[Path]) -> None:
        """Take note of what a load has read: only another content is a change from now on."""
        undisturbed = self._before == self._read()
        self._files = tuple(files)
        self._seen = self._look()
        self._settled = self._seen if undisturbed else None
        self._digest = self._read() if undisturbed else b""

    def changed(self) -> bool:
        """Look; return True once when the content has changed and two looks agree (nobody is writing any more)."""
        look = self._look()
        quiet = look == self._seen
        self._seen = look
        if not quiet or look == self._settled:
            return False
        self._settled = look
        digest = self._read()
        if digest == self._digest:
            return False
        self._digest = digest
        return True

    def replaced_on_host(self) -> list[Path]:
        """Return files that this process sees although they are no longer in any folder; each once."""
        gone: list[Path] = []
        for file in self._involved():
            try:
                links = file.stat().st_nlink
            except (OSError, ValueError):
                continue
            if links == 0 and file not in self._replaced:
                self._replaced.add(file)
                gone.append(file)
            elif links:
                self._replaced.discard(file)
        return gone

    def _involved(self) -> list[Path]:
        involved = {self._config: None}
        try:
            if self._config.is_dir():
                entries = sorted(
                    e for e in self._config.iterdir() if e.suffix == ".yaml" and not e.name.startswith(".")
                )
                involved = dict.fromkeys(entries)
        except (OSError, ValueError):
            pass  # it is being swapped: the next look sees what it is then
        return list(involved | dict.fromkeys(self._files))

    def _look(self) -> Look:
        seen: list[tuple[str, int, int, int]] = []
        for file in self._involved():
            try:
                what = file.stat()  # of the file that its links lead to
                seen.append((str(file), what.st_ino, what.st_mtime_ns, what.st_size))
            except (OSError, ValueError):
                seen.append((str(file), 0, 0, 0))
        return tuple(seen)

    def _read(self) -> bytes:
        digest = hashlib.sha256()
        for file in self._involved():
            content, size = _content(file)
            digest.update(b"%d %s %d " % (len(str(file)), str(file).encode(), size))
            digest.update(content)
        return digest.digest()


def _content(file: Path) -> tuple[bytes, int]:
    """Return what a load may read of a file, and its whole size: one that is larger is refused whatever it holds."""
    try:
        if file.is_file():
            with file.open("rb") as stream:
                return stream.read(MAX_BYTES), file.stat().st_size
    except (OSError, ValueError):
        pass  # it is being swapped, or may not be read: the load says so
    return b"", 0
