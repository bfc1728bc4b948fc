"""The live journal on disk: a folder of segment files, each whole in itself.

Lines are written when they happen and flushed a few times a second; a crash loses at most the last of them, and the
reader leaves out a line that was cut short.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from sfumato.core.journal import Checkpoint, Entry, encode
from sfumato.errors import ConfigError


class JournalFolder:
    """A `Journal`'s `write`: a new file `journal-000001.jsonl`, -000002, ... at every checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: BinaryIO | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"journal: {folder} cannot be made: {error}; name another folder", field="journal"
            ) from error
        self._number = max((int(path.stem.split("-")[1]) for path in folder.glob("journal-*.jsonl")), default=0)

    def __call__(self, entry: Entry) -> None:
        if isinstance(entry, Checkpoint):
            self.close()
            self._number += 1
            self._file = (self.folder / f"journal-{self._number:06d}.jsonl").open("wb")
        assert self._file is not None, "a journal begins with a checkpoint"
        self._file.write(encode(entry))

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Flush and close the current file; the next checkpoint opens another."""
        if self._file is not None:
            self._file.close()
            self._file = None
