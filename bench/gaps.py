"""How long a worker waits between two chunks while both cores compute: from one chunk's last unit to the next's first.

Two workers, chunks of one step, always more requests than workers. The gap holds the snapshot, the report, the
controller's decision and the launch; the part in which the worker waits for the controller is given beside it.
"""

from __future__ import annotations

import asyncio
from statistics import median

from bench.figure import Figure, Result, main, ms, percentile, summary
from bench.rig import finished, image, play, running
from sfumato.runtime.engine import Engine

IN_FLIGHT = 4
STEPS = 100


def measure(quick: bool) -> Result:
    idles, gaps = play(lambda: _gaps(600 if quick else 8000))
    return Result(
        figures=(
            Figure(name="gap between chunks, both cores busy: median", value=ms(median(gaps)), unit="ms", limit=1.5),
            Figure(name="the same: p99", value=ms(percentile(gaps, 0.99)), unit="ms", limit=8.0),
            Figure(name="of it waiting for the controller: median", value=ms(median(idles)), unit="ms"),
            Figure(name="the same: p99", value=ms(percentile(idles, 0.99)), unit="ms"),
        ),
        details={"gap_ms": summary(gaps), "idle_ms": summary(idles)},
    )


async def _gaps(count: int) -> tuple[list[float], list[float]]:
    """(idle_s, gap_s) of `count` chunks."""
    async with running("edf", {"quantum_s": 0.0}) as (engine, cluster):
        await asyncio.gather(*(finished(engine, image(steps=4)) for _ in range(IN_FLIGHT)))
        tasks = [asyncio.create_task(_busy(engine)) for _ in range(IN_FLIGHT)]
        try:
            while len(engine.serving.backlog) < IN_FLIGHT:
                await asyncio.sleep(0.01)
            cluster.gaps.clear()
            while len(cluster.gaps) < count:
                await asyncio.sleep(0.2)  # seldom, so as not to be in the way of what is measured
            found = list(cluster.gaps)
        finally:
            for task in tasks:
                task.cancel()
        return [idle for idle, _ in found], [gap for _, gap in found]


async def _busy(engine: Engine) -> None:
    """One request after the other, until cancelled."""
    while True:
        await finished(engine, image(steps=STEPS))


if __name__ == "__main__":
    main(measure)
