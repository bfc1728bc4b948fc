"""What it costs to stop a request after a step and go on: on the same worker, and on another one.

The same image in one chunk, in a chunk a step, and in a chunk a step with a move to the other worker each time; the
difference of their times over the number of boundaries. It holds everything: the report to the controller, its
decision, the launch, the snapshot, and for a move the reading of it. The three take turns on an otherwise idle engine.
"""

from __future__ import annotations

from statistics import median

from bench.figure import Figure, Result, main, ms, summary
from bench.policies import MOVED, PAUSED, WHOLE
from bench.rig import finished, image, play, running, service_s

STEPS = 24
MODES = {WHOLE: "in one chunk", PAUSED: "a chunk a step", MOVED: "a chunk a step, each on the other worker"}


def measure(quick: bool) -> Result:
    times = play(lambda: _times(4 if quick else 40))
    boundaries = STEPS - 1
    # pairs within a round, so that what the machine does meanwhile hits all three alike
    cost = {
        mode: median(cut - whole for cut, whole in zip(times[mode], times[WHOLE], strict=True)) / boundaries
        for mode in (PAUSED, MOVED)
    }
    whole = median(times[WHOLE])
    return Result(
        figures=(
            Figure(name="pause and resume at a step boundary", value=ms(cost[PAUSED]), unit="ms", limit=2.0),
            Figure(name="the same with a move to another worker", value=ms(cost[MOVED]), unit="ms", limit=5.0),
            Figure(name="of a chunk of 100 ms, a pause is", value=100 * cost[PAUSED] / 0.1, unit="%"),
        ),
        details={MODES[mode]: summary(times[mode]) for mode in MODES} | {"step_ms": ms(whole / STEPS)},
    )


async def _times(rounds: int) -> dict[int, list[float]]:
    """Seconds from the first launch to the end, by mode."""
    times: dict[int, list[float]] = {mode: [] for mode in MODES}
    async with running("bench.policies:Stepwise") as (engine, _):
        for mode in MODES:
            await finished(engine, image(steps=STEPS, priority=mode))
        for turn in range(rounds):
            for mode in sorted(MODES, key=lambda mode: (mode + turn) % len(MODES)):
                ticket = await finished(engine, image(steps=STEPS, priority=mode, seed=turn))
                times[mode].append(service_s(ticket))
    return times


if __name__ == "__main__":
    main(measure)
