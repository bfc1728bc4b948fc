"""Traces: one arrival a line of JSON, as `workload.arrivals.Arrival` names the fields. Written and read back exactly.

A line needs at, class, model, shape and steps, e.g.
{"at": 0.4, "class": "small", "model": "sd35", "shape": {"height": 512, "width": 512}, "steps": 28, "slo_s": 5.0}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from sfumato.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)


def write_trace(path: str | Path, arrivals: Iterable[msgspec.Struct]) -> None:
    """Write arrivals, one a line."""
    with Path(path).open("wb") as file:
        file.writelines(msgspec.json.encode(arrival) + b"\n" for arrival in arrivals)


def read_trace(path: str | Path, kind: type[T]) -> Iterator[T]:
    """The arrivals of a file in the order of its lines; blank lines are skipped. Raises ConfigError."""
    decoder = msgspec.json.Decoder(kind)
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        message = f"trace: cannot read {path} ({error.strerror}); give the path of a JSONL file"
        raise ConfigError(message, field="file") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield decoder.decode(line)
        except msgspec.DecodeError as error:
            raise ConfigError(
                f"{path}: line {number} is not an arrival: {error}; mend the line", field="file"
            ) from None
