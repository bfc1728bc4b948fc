"""Reads a workload file and checks what types alone cannot say. Every error names the key and the fix."""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from sfumato.core.cost import Overheads
from sfumato.errors import ConfigError
from sfumato.workload.pool import PoolSpec, Ranks, Trouble
from sfumato.workload.spec import (
    Bursts,
    Gamma,
    ModelEntry,
    Piecewise,
    Point,
    Poisson,
    Process,
    RequestClass,
    Trace,
    Workload,
)

_PROCESSES: tuple[type[msgspec.Struct], ...] = (Poisson, Gamma, Bursts, Piecewise, Trace)
_TABLES: dict[str, type[msgspec.Struct]] = {
    "": Workload,
    "pool": PoolSpec,
    "pool.also": Ranks,
    "pool.troubles": Trouble,
    "models": ModelEntry,
    "classes": RequestClass,
    "points": Point,
    "costs": Overheads,
}


def load(path: str | Path) -> Workload:
    """The workload of a file, paths in it made relative to the file. Raises ConfigError."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"workload: cannot read {path} ({error.strerror}); give the path of a TOML file") from None
    return parse(text, folder=path.parent, name=str(path))


def parse(text: str, *, folder: Path | None = None, name: str = "workload") -> Workload:
    """The workload that `text` describes. Raises ConfigError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not valid TOML: {error}") from None
    return read(raw, folder=folder, name=name)


def read(raw: dict[str, Any], *, folder: Path | None = None, name: str = "workload") -> Workload:
    """The workload of an already decoded TOML table."""
    try:
        spec = msgspec.convert(raw, Workload)
    except msgspec.ValidationError as error:
        field, message = _explained(str(error), raw)
        raise ConfigError(f"{name}: {message}", field=field) from None
    try:
        spec = _completed(spec)
        _check_process(spec.arrivals)
        _check_troubles(spec.pool)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}", field=error.field) from None
    return spec if folder is None else _resolved(spec, folder)


def _completed(spec: Workload) -> Workload:
    """With the model of each class filled in, and everything that the file must agree on checked."""
    _unique("models", [entry.name for entry in spec.models])
    _unique("classes", [entry.name for entry in spec.classes])
    if not isinstance(spec.arrivals, Trace):
        if spec.horizon_s is None and spec.requests is None:
            raise _error("horizon_s", "the workload has no end; set horizon_s (seconds) or requests (a number)")
        if sum(entry.share for entry in spec.classes) <= 0:
            raise _error("classes", "nothing would arrive; add a [[classes]] table with a share above 0")
    _check_shares(spec)
    return replace(spec, classes=tuple(_with_model(entry, spec) for entry in spec.classes))


def _check_shares(spec: Workload) -> None:
    """Shares that points and pieces name are of classes that there are, and not all of them 0."""
    pieces = spec.arrivals.shares if isinstance(spec.arrivals, Piecewise) else ()
    own = {entry.name: entry.share for entry in spec.classes}
    for shares in (*(point.shares for point in spec.points), *pieces):
        unknown = next((name for name in shares if name not in own), None)
        if unknown is not None:
            raise _error("shares", f'shares name class "{unknown}"; {choice(unknown, list(own))}')
        if shares and sum((own | shares).values()) <= 0:
            raise _error("shares", "shares leave nothing that could arrive; give one class a share above 0")


def _with_model(entry: RequestClass, spec: Workload) -> RequestClass:
    names = [model.name for model in spec.models]
    if entry.slo is not None and entry.slo_scale is not None:
        raise _error("slo", f'class "{entry.name}" has slo and slo_scale; keep one of them')
    if not entry.model:
        if len(names) != 1:
            raise _error("model", f'class "{entry.name}" names no model; set model = "..."')
        return replace(entry, model=names[0])
    if names and entry.model not in names:
        raise _error("model", f'class "{entry.name}" wants model "{entry.model}"; {choice(entry.model, names)}')
    return entry


def _check_process(process: Process) -> None:
    if isinstance(process, Trace):
        return
    rates = (process.per_second is not None) + (process.per_minute is not None)
    if rates > 1:
        raise _error("per_second", "arrivals have per_second and per_minute; keep one of them")
    if rates == 0 and not isinstance(process, Bursts):
        raise _error("per_minute", "arrivals have no rate; set per_second or per_minute")
    if isinstance(process, Bursts) and process.within_s > process.every_s:
        raise _error("within_s", f"a burst must end before the next; set within_s to {process.every_s:g} or less")
    if isinstance(process, Piecewise):
        _check_pieces(process)


def _check_pieces(process: Piecewise) -> None:
    pieces = process.pieces
    if process.shares and len(process.shares) != len(pieces):
        raise _error("shares", f"there are {len(pieces)} pieces and {len(process.shares)} shares; give one a piece")
    starts = [start for start, _ in pieces]
    if starts[0] != 0 or any(b <= a for a, b in pairwise(starts)):
        raise _error("pieces", "piecewise rates are [from second, rate] pairs; begin at 0 and let the seconds increase")
    if process.repeat_s is not None and process.repeat_s <= starts[-1]:
        raise _error("repeat_s", f"repeat_s must be after the last piece begins; set it above {starts[-1]:g}")
    if not any(rate for _, rate in pieces):
        raise _error("pieces", "every piece has rate 0; give at least one a rate above 0")


def _check_troubles(pool: PoolSpec) -> None:
    """Each is of a rank that there is, is one thing, and is over before the next of that rank begins."""
    count = len(pool.infos())
    ends = dict.fromkeys(range(count), 0.0)
    for trouble in sorted(pool.troubles, key=lambda trouble: trouble.at_s):
        rank, begins, until = trouble.rank, trouble.at_s, trouble.until_s
        if rank >= count:
            raise _error("rank", f"pool.troubles name rank {rank}; the pool's ranks are 0 to {count - 1}")
        if trouble.dead == (trouble.slowdown > 1.0):
            raise _error("dead", f"the trouble of rank {rank} at {begins:g} s needs dead = true, or a slowdown above 1")
        if until is not None and until <= begins:
            raise _error("until_s", f"the trouble of rank {rank} ends before it begins; set until_s above {begins:g}")
        if begins < ends[rank]:
            raise _error("at_s", f"rank {rank} has a trouble at {begins:g} s already; let them follow each other")
        ends[rank] = inf if until is None else until


def _resolved(spec: Workload, folder: Path) -> Workload:
    models = tuple(replace(entry, profile=tuple(str(folder / file) for file in entry.files)) for entry in spec.models)
    arrivals = spec.arrivals
    if isinstance(arrivals, Trace):
        arrivals = replace(arrivals, file=str(folder / arrivals.file))
    return replace(spec, models=models, arrivals=arrivals)


def _explained(message: str, raw: dict[str, Any]) -> tuple[str, str]:
    """(field, what to do) for a complaint of msgspec, such as "... unknown field `x` - at `$.classes[0]`"."""
    problem, _, where = message.partition(" - at `$")
    where = where.rstrip("`").lstrip(".").replace("[...]", "")
    unknown = re.search(r"unknown field `(.+?)`", problem)
    missing = re.search(r"missing required field `(.+?)`", problem)
    if unknown:
        key = unknown[1]
        return key, f'{_place(where)}unknown key "{key}"; {choice(key, _keys(where, raw))}'
    if missing:
        return missing[1], f'{_place(where)}the key "{missing[1]}" is missing; add it'
    problem = re.sub(r"matching regex '\^\[1-9\].*'", 'of the form "WIDTHxHEIGHT", e.g. "1024x768"', problem)
    field = re.sub(r"\[\d+\]", "", where).rpartition(".")[2]
    return field, f"{where or 'the file'}: {problem[0].lower() + problem[1:]}"


def _keys(where: str, raw: dict[str, Any]) -> list[str]:
    """The keys that the table at `where` may have."""
    table = re.sub(r"\[\d+\]", "", where)
    kind = _TABLES.get(table)
    if table == "arrivals":
        tag = raw["arrivals"].get("process")
        kind = next((kind for kind in _PROCESSES if kind.__struct_config__.tag == tag), None)
    if kind is None:
        return []
    extra = ["process"] if kind.__struct_config__.tag else []
    return extra + [field.encode_name for field in msgspec.structs.fields(kind)]


def choice(given: str, known: list[str]) -> str:
    """What to write instead of a name that is not known."""
    close = get_close_matches(given, known, n=1)
    return f'did you mean "{close[0]}"?' if close else f"use one of: {', '.join(known)}"


def _place(where: str) -> str:
    return f"{where}: " if where else ""


def _unique(field: str, names: list[str]) -> None:
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise _error(field, f'{field} has two entries named "{twice}"; rename one')


def _error(field: str, message: str) -> ConfigError:
    return ConfigError(message, field=field)
