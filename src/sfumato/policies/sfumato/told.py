"""What is told of a decision, for people (`explain`): why each chunk was launched, and whose standing is another now.

A request with a deadline counts as kept until it is told otherwise: that it is given up, or that it can no longer be
met. Each is told once, and once more when it is kept again. What was told is remembered and decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sfumato.core.policy import Reason
from sfumato.policies.sfumato.keep import Line
from sfumato.policies.sfumato.merge import Launched
from sfumato.policies.sfumato.outlook import Flags, Outlook, Outlooks

KEPT, GIVEN_UP, LATE, BEST_EFFORT = "kept", "given up", "late", "best effort"


def standing(o: Outlook) -> str:
    """Of a request that is not kept."""
    if not o.hopeless:
        return GIVEN_UP
    return LATE if o.job.request.deadline is not None else BEST_EFFORT


def standings(outlooks: Outlooks, ready: Flags, keep: Flags, before: Mapping[str, str]) -> dict[str, str]:
    """How those with a deadline stand who are not kept. Who is not `ready` to be launched stands as before."""
    found = {}
    for place, job in enumerate(outlooks.jobs):
        name = job.request.id
        if not ready[place]:
            if name in before:
                found[name] = before[name]
        elif not keep[place] and job.request.deadline is not None:
            found[name] = LATE if outlooks.hopeless[place] else GIVEN_UP
    return found


def turned(outlooks: Outlooks, ready: Flags, before: Mapping[str, str], after: Mapping[str, str]) -> list[Outlook]:
    """Who of the `ready` stands otherwise than before."""
    names = [(place, outlooks.jobs[place].request.id) for place in ready.nonzero()[0].tolist()]
    return [outlooks[place] for place, name in names if before.get(name) != after.get(name)]


class Told:
    """The reasons of one decision; `new` are the places of those that it is the first for."""

    def __init__(self, outlooks: Outlooks, keep: Flags, now: float, *, new: Collection[int]) -> None:
        self._outlooks, self._keep, self._now, self._new = outlooks, keep, now, new
        self._line: Line | None = None
        self._fits = keep

    def crowded(self, line: Line, fits: Flags) -> None:
        """What is needed to say why anyone is given up; who `fits` is given up for the ranks that it needs alone."""
        self._line, self._fits = line, fits

    def launched(self, launch: Launched) -> Reason:
        """Why a chunk was launched."""
        seat, chunk, _ = launch
        return self._reason(seat.o, seat.why, len(chunk.group), chunk.jobs[1:])

    def turned(self, o: Outlook) -> Reason:
        """Why a request stands otherwise than before."""
        if self._keep[o.place]:
            return self._reason(o, "kept again")
        if o.hopeless:
            met = "cannot be met" if o.place in self._new else "can no longer be met"
            left_s = max(0.0, o.deadline - self._now)
            return self._reason(o, f"{met}: fastest {o.fastest_s:.2f} s, {left_s:.2f} s left")
        return self._reason(o, self._too_much(o))

    def _too_much(self, o: Outlook) -> str:
        line = self._line
        if line is None or self._fits[o.place]:
            return "needs all ranks: a smaller one would be late beside it"
        mine = int((line.order == o.place).argmax())
        over = mine + int((line.wait[mine:] > line.room[mine:]).argmax())
        due = "its deadline" if over == mine else f"that of {self._outlooks.jobs[int(line.order[over])].request.id}"
        return f"too much waits: {line.wait[over]:.2f} GPU-s for {line.room[over]:.2f} that are there until {due}"

    def _reason(self, o: Outlook, why: str, degree: int = 0, others: tuple[str, ...] = ()) -> Reason:
        return Reason(
            job=o.job.request.id,
            standing=KEPT if self._keep[o.place] else standing(o),
            why=why,
            slack_s=None if o.job.request.deadline is None else o.start_by - self._now,
            work_s=o.work,
            least_degree=o.degree,
            degree=degree,
            others=others,
        )
