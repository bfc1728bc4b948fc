"""Reads journals from memory, a file or a folder of segments, and tells them as a Story.

A journal may begin mid-way (its checkpoint holds the live jobs and running chunks), end in a cut line (dropped), or
lack a segment (the next checkpoint is believed). A checkpoint of an earlier time than what was read is a new run of the
server: the last run is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from sfumato.core.journal import Checkpoint, Entry, Record, decode
from sfumato.errors import UserError
from sfumato.report.story import Story
from sfumato.report.teller import Teller


def read(path: str | Path) -> Story:
    """The story of a journal on disk: a folder of `*.jsonl` segments or one file. Raises UserError."""
    return tell(entries(path))


def entries(path: str | Path) -> Iterator[Entry]:
    """The entries of a journal on disk, segment after segment in order of their names."""
    for file in _segments(Path(path)):
        count = 0
        try:
            with file.open("rb") as lines:
                for entry in decode(lines):
                    count += 1
                    yield entry
        except msgspec.DecodeError as error:
            raise UserError(f"{file}: line {count + 1} is not a journal entry: {error}", field="journal") from None


def tell(journal: Iterable[Entry]) -> Story:
    """The story of journal entries."""
    teller = Teller()
    for entry in journal:
        match entry:
            case Checkpoint():
                if entry.now < teller.now:
                    teller = Teller()
                teller.take_up(entry)
            case Record():
                teller.take(entry)
    return teller.story()


def _segments(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(path.glob("*.jsonl"), key=lambda file: _natural(file.name))
    else:
        found = [path] if path.is_file() else []
    if not found:
        message = f"journal: there is none at {path}; give a folder of *.jsonl segments or one such file"
        raise UserError(message, field="journal")
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    """Orders segment-9 before segment-10."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", name)]
