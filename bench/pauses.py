"""What it costs to stop a request after a step and go on: on the same worker, on another one, on more or fewer of them.

The same request in one chunk; in a chunk a step; with a move to the other worker each time; and in turns on one worker
and on both. Of the first three the differences of their times over the number of boundaries; of the last what it takes
beyond the half of the steps alone and the half of them on both. It holds everything: the report to the controller, its
decision, the launch, the snapshot, for a move the reading of it, for a group its agreement. The ways take turns on an
otherwise idle engine, which has both workers up.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from msgspec.structs import replace

from bench.figure import Figure, Result, main, ms, summary
from bench.policies import CHANGED, MOVED, PAUSED, SPREAD, WHOLE
from bench.rig import IMAGE, VIDEO, finished, image, play, running, service_s, video
from sfumato.runtime.engine import Engine
from sfumato.runtime.service import Ask

STEPS = 24
MODES = {
    WHOLE: "in one chunk",
    PAUSED: "a chunk a step",
    MOVED: "a chunk a step, each on the other worker",
    SPREAD: "a chunk a step, on both workers",
    CHANGED: "a chunk a step, on one worker and on both in turn",
}
Times = dict[int, list[float]]


def measure(quick: bool) -> Result:
    figures: list[Figure] = []
    details: dict[str, Any] = {}
    for name, times in play(lambda: _all_times(4 if quick else 40)).items():
        figures += _figures(name.removeprefix("sfumato/tiny-"), times)
        details[name] = {MODES[mode]: summary(times[mode]) for mode in times}
        details[name]["step_ms"] = ms(median(times[WHOLE]) / STEPS)
    return Result(figures=tuple(figures), details=details)


def _figures(name: str, times: Times) -> list[Figure]:
    boundaries = STEPS - 1
    # pairs within a round, so that what the machine does meanwhile hits all alike
    rounds = list(zip(*(times[mode] for mode in sorted(times)), strict=True))
    cost = {
        "a pause": (median(one[PAUSED] - one[WHOLE] for one in rounds) / boundaries, 2.0),
        "a move": (median(one[MOVED] - one[WHOLE] for one in rounds) / boundaries, 5.0),
    }
    if CHANGED in times:
        beyond = [one[CHANGED] - (one[PAUSED] + one[SPREAD]) / 2 for one in rounds]
        cost["a change of degree"] = (median(beyond) / boundaries, 5.0)
    step_s = median(times[WHOLE]) / STEPS
    figures = []
    for what, (seconds, limit_ms) in cost.items():
        figures.append(Figure(name=f"{name}: {what} at a step boundary", value=ms(seconds), unit="ms", limit=limit_ms))
        figures.append(Figure(name=f"{name}: of a step, {what} is", value=round(100 * seconds / step_s, 2), unit="%"))
    return figures


async def _all_times(rounds: int) -> dict[str, Times]:
    """Seconds from the first launch to the end, by model and mode."""
    async with running("bench.policies:Stepwise") as (engine, _):
        return {
            IMAGE: await _times(engine, rounds, image(steps=STEPS)),
            VIDEO: await _times(engine, rounds, video(STEPS)),
        }


async def _times(engine: Engine, rounds: int, ask: Ask) -> Times:
    wide = 2 in engine.offers[ask.model].spec.diffuse.degrees
    modes = [mode for mode in MODES if wide or mode not in (SPREAD, CHANGED)]
    times: Times = {mode: [] for mode in modes}
    for turn in range(-1, rounds):
        for mode in sorted(modes, key=lambda mode: (mode + turn) % len(modes)):
            ticket = await finished(engine, replace(ask, priority=mode, seed=turn + 1))
            if turn >= 0:  # the first is for whatever is made when it is first needed
                times[mode].append(service_s(ticket))
    return times


if __name__ == "__main__":
    main(measure)
