"""Two stages of a request in one launch: its rank goes on with the next stage by itself, within the same quantum.

Only where asking again could change nothing but what it costs: everybody who waits has been given ranks, no rank is
left to spread over, and the next stage wants one rank. A decode is merged whole or not at all, as its progress is bound
to the rank (cf. TridentServe, which merges consecutive stages that it places on one worker).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from sfumato.core.values import Chunk, Stage
from sfumato.core.view import View
from sfumato.policies.sfumato.board import Seat

NEAR = 1e-9

Launched = tuple[Seat, Chunk, float]


def merged(view: View, launches: Iterable[Launched], quantum_s: float) -> Iterator[Launched]:
    """The launches of a plan that leaves nobody waiting and no rank free."""
    for seat, chunk, unit_s in launches:
        units = _onward(view, seat, chunk, quantum_s - chunk.units * unit_s)
        yield seat, replace(chunk, onward=units) if units else chunk, unit_s


def _onward(view: View, seat: Seat, chunk: Chunk, left_s: float) -> int:
    """Units of the next stage that there is time for and the rank can do."""
    o, encodes = seat.o, chunk.stage is Stage.ENCODE
    ends = chunk.units == view.units_left(o.job) and chunk.stage is not Stage.DECODE
    if not ends or len(chunk.jobs) > 1 or len(chunk.group) > 1 or (encodes and o.degree > 1):
        return 0
    stage, most = (Stage.DIFFUSE, o.steps) if encodes else (Stage.DECODE, o.paces[seat.part].decode_units)
    next_s = o.paces[seat.part].unit_s(stage, 1)
    units = min(most, int(left_s / next_s + NEAR)) if next_s > 0 else most
    spec = view.models[o.job.request.model].stage(stage)
    here = view.resident(chunk.group[0])
    if units < (1 if encodes else most) or 1 not in spec.degrees or not all(part in here for part in spec.parts):
        return 0
    return units if view.fits(replace(chunk, onward=units).following) else 0
