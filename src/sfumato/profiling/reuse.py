"""What reuse between steps leaves of their time, quality by quality, of a usual request.

Rules: whole requests of the default shape and steps, since the first steps of a request are computed and later ones are
not; one on every rank at once, exact and reusing ones in turn, so that a drift of the machine falls on both.
"""

from __future__ import annotations

from msgspec.structs import replace

from sfumato.core.values import EXACT, Stage
from sfumato.cost.profile import Profile
from sfumato.models.family import Quality
from sfumato.models.offer import Offer
from sfumato.profiling.bench import Bench
from sfumato.profiling.crews import task_of
from sfumato.profiling.grid import Setting

ROUNDS = 3
LEAST = 0.01


async def with_reuse(offer: Offer, bench: Bench, profile: Profile) -> Profile:
    """The profile with the share that each quality leaves, where it does not say it yet."""
    missing = [quality for quality in offer.qualities if quality != EXACT and quality not in profile.reuse]
    if not missing:
        return profile
    took = dict.fromkeys((EXACT, *missing), 0.0)
    for turn in range(ROUNDS + 1):
        for quality in ("exact", *missing):
            seconds = await _steps_s(offer, bench, quality)
            took[quality] += seconds if turn else 0.0  # the first ones are slow
    found = {quality: round(min(1.0, max(LEAST, took[quality] / took[EXACT])), 4) for quality in missing}
    return replace(profile, reuse=profile.reuse | found)


async def _steps_s(offer: Offer, bench: Bench, quality: Quality) -> float:
    """Seconds of all steps of a request on every rank, added up."""
    shape, steps = offer.default_shape, offer.default_steps
    usual = offer.guided(offer.default_guidance)
    task = task_of(offer, Setting(stage=Stage.DIFFUSE, shape=shape, guided=usual, quality=quality), shape)
    task = replace(task, steps=steps)
    crews = [(group, (bench.accept(offer.name, task),)) for group in bench.groups(1)]
    try:
        await bench.run(Stage.ENCODE, 1, crews)
        return sum(one.total_s for one in await bench.run(Stage.DIFFUSE, steps, crews))
    finally:
        bench.forget([job for _, jobs in crews for job in jobs])
