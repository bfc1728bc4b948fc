"""Times one setting on all groups at once: each group runs its own jobs chunk after chunk, and none waits for another.

That is how they serve: a launch to one rank falls into the steps of the others, and the controller answers each by
itself. (Groups that start together and wait for the slowest leave ranks idle in between: their launches then took 0.7
ms where those of a server took 1.0.) Nobody stops before all have given enough, so every sample has busy neighbours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import ceil, inf

from msgspec.structs import replace

from sfumato.core.values import EXACT, Group, Shape, Stage
from sfumato.models.family import Payload, Task
from sfumato.models.offer import Offer
from sfumato.profiling.bench import Bench, Timed
from sfumato.profiling.grid import Setting

CHUNK_S = 0.05  # short enough for many samples, long enough that the clock does not count
WARM_UP = 2  # chunks of a step, thrown away: the first of new jobs is slow, the second says how many steps fill a chunk
LONG_S = 5 * CHUNK_S  # a step that fills a chunk, however cold it was
REUSED_STEPS = 3  # after the first everything is kept that is ever kept; the others show that it grows no more
WORDS = "a lighthouse at dusk"


async def timed(offer: Offer, bench: Bench, setting: Setting, *, seconds: float, samples: int) -> list[Timed]:
    """Chunks of a setting, for `seconds` or until every group has given `samples`; at least one of each group.

    Raises WorkerError with the first thing that went wrong.
    """
    crews = [Crew(offer, bench, setting, group) for group in bench.groups(setting.degree)]
    over = sorted(set(bench.ranks).difference(*(crew.group for crew in crews)))
    neighbours = [Crew(offer, bench, replace(setting, degree=1, cfg=1), (rank,)) for rank in over]  # keep them busy too
    short = set(crews)  # of samples

    async def measure(crew: Crew) -> None:
        await crew.warm_up()
        while short:
            await crew.sample()
            if crew.spent_s >= seconds or len(crew.samples) >= samples:
                short.discard(crew)

    try:
        async with asyncio.TaskGroup() as tasks:
            for crew in (*crews, *neighbours):
                tasks.create_task(measure(crew))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        for crew in (*crews, *neighbours):
            crew.forget()
    return [sample for crew in crews for sample in crew.samples]


class Crew:
    """A group with a batch of fresh jobs of a setting; new ones when those have nothing left to measure."""

    def __init__(self, offer: Offer, bench: Bench, setting: Setting, group: Group) -> None:
        self.samples: list[Timed] = []
        self.spent_s = 0.0
        self.group = group
        self.jobs: tuple[str, ...] = ()
        self._offer = offer
        self._bench = bench
        self._setting = setting
        self._steps = 1  # of a chunk
        self._left = 0

    async def warm_up(self) -> None:
        """What a chunk of steps needs before it can be measured."""
        if self._setting.stage is Stage.DIFFUSE:
            step_s = inf
            for _ in range(WARM_UP):
                step_s = min(step_s, (await self._chunk()).unit_s)
                if step_s > LONG_S:
                    break
            self._steps = min(max(1, ceil(CHUNK_S / max(step_s, 1e-6))), self._offer.max_steps)

    async def sample(self) -> None:
        """One more chunk of the setting."""
        one = await self._chunk()
        self.samples.append(one)
        self.spent_s += one.total_s

    def begin(self) -> None:
        """Take fresh jobs."""
        self.forget()
        self.jobs = tuple(
            self._bench.accept(self._offer.name, task_of(self._offer, self._setting, shape))
            for shape in self._setting.shapes
        )
        self._left = self._offer.max_steps

    def forget(self) -> None:
        """Free what the ranks hold for the jobs."""
        self._bench.forget(self.jobs)
        self.jobs = ()

    async def _chunk(self) -> Timed:
        if self._setting.stage is not Stage.DIFFUSE:
            return await self._whole()
        if self._left < self._steps:
            self.begin()
            await self._run(Stage.ENCODE, 1)
        self._left -= self._steps
        return await self._run(Stage.DIFFUSE, self._steps)

    async def _whole(self) -> Timed:
        """Encode, or all of decode, of fresh jobs. Decoding noise takes as long as decoding a picture."""
        self.begin()
        encoded = await self._run(Stage.ENCODE, 1)
        if self._setting.stage is Stage.ENCODE:
            return encoded
        units = self._offer.spec.units(Stage.DECODE, self._setting.shape, self._offer.default_steps)
        return await self._run(Stage.DECODE, units)

    async def _run(self, stage: Stage, units: int) -> Timed:
        cfg = self._setting.cfg if stage is Stage.DIFFUSE else 1
        (one,) = await self._bench.run(stage, units, [(self.group, self.jobs)], cfg=cfg)
        return one


async def weighed(offer: Offer, bench: Bench, setting: Setting) -> Sequence[Timed]:
    """One chunk of fresh jobs on every group, weighed: a step (some of a quality below exact), or all of another stage.

    Weighing spoils the times. Decoding takes the same for guided jobs, but what those hold meanwhile is more.
    """
    heaviest = replace(setting, guided=setting.guided or setting.stage is Stage.DECODE)
    crews = [Crew(offer, bench, heaviest, group) for group in bench.groups(setting.degree)]
    steps = 1 if setting.quality == EXACT else min(REUSED_STEPS, offer.max_steps)
    units = offer.spec.units(setting.stage, setting.shape, steps)
    try:
        for crew in crews:
            crew.begin()
        ready = [(crew.group, crew.jobs) for crew in crews]
        if setting.stage is not Stage.ENCODE:
            await bench.run(Stage.ENCODE, 1, ready)
        return await bench.run(setting.stage, units, ready, weigh=True)
    finally:
        for crew in crews:
            crew.forget()


def task_of(offer: Offer, setting: Setting, shape: Shape) -> Task:
    """With as many steps as a request may have, so that many chunks fit in."""
    guidance = offer.default_guidance if setting.guided == offer.guided(offer.default_guidance) else None
    if guidance is None:
        guidance = 3.0 if setting.guided else 1.0
    payload = Payload(prompt=WORDS, guidance=guidance, quality=setting.quality)
    return Task(id="", shape=shape, steps=offer.max_steps, seed=0, payload=payload)
