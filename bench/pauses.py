"""What it costs to stop a request after a step and go on: on the same worker, on another one, on more or fewer of them.

The same request in one chunk; in a chunk a step; with a move to the other worker each time; and in turns on one worker
and on both. Of the first three the differences of their times over the number of boundaries; of the last what it takes
beyond the half of the steps alone and the half of them on both. It holds everything: the report to the controller, its
decision, the launch, the snapshot, for a move the reading of it, for a group its agreement. The ways take turns on an
otherwise idle engine, which has both workers up: two on the CPU; on GPUs (see `bench.target`) one on each of the first
two, and where there is but one, only the first two ways. Then a snapshot, the reading of it, and loads of weights by
themselves, in this process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from msgspec.structs import replace

from bench.figure import Figure, Result, ms, summary
from bench.policies import CHANGED, MOVED, PAUSED, SPREAD, WHOLE
from bench.rig import finished, image, play, running, service_s, video
from bench.target import Target, main, part_of
from sfumato.config import gpu_count
from sfumato.models import Payload, Task, describe
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


def measure(quick: bool, target: Target) -> Result:
    if target.device not in ("cpu", "cuda:0"):
        raise SystemExit("bench.pauses: workers take GPUs from cuda:0 on; choose others by CUDA_VISIBLE_DEVICES")
    asks = asks_for(target)
    # a step of a full-size model takes so long that fewer rounds tell as much
    rounds = (2 if quick else 8) if target.model else (4 if quick else 40)
    figures: list[Figure] = []
    details: dict[str, Any] = {"device": target.device_name, "workers": workers_on(target)}
    for name, times in play(lambda: _all_times(target, asks, rounds)).items():
        steps = asks[name].steps
        figures += _figures(name, times, steps)
        details[name] = {MODES[mode]: summary(times[mode]) for mode in times}
        details[name] |= {"shape": str(asks[name].shape), "step_ms": ms(median(times[WHOLE]) / steps)}
    target.settle()
    for name, ask in asks.items():
        figures += _alone(target, name, ask, 3 if quick else 9)
    return Result(figures=tuple(figures), details=details)


def asks_for(target: Target) -> dict[str, Ask]:
    """What is asked of each model, by a short name: of one that is given its default size, in half as many steps."""
    if target.model is None:
        return {"image": image(steps=STEPS), "video": video(STEPS)}
    offer = describe(target.model)
    shape = part_of(offer)
    return {target.model_name: replace(image(steps=STEPS // 2), model=target.model_name, shape=shape)}


def workers_on(target: Target) -> int:
    return min(2, gpu_count()) if target.on_gpu else 2


def _figures(name: str, times: Times, steps: int) -> list[Figure]:
    boundaries = steps - 1
    # pairs within a round, so that what the machine does meanwhile hits all alike
    rounds = list(zip(*(times[mode] for mode in sorted(times)), strict=True))
    cost = {"a pause": (median(one[PAUSED] - one[WHOLE] for one in rounds) / boundaries, 2.0)}
    if MOVED in times:
        cost["a move"] = (median(one[MOVED] - one[WHOLE] for one in rounds) / boundaries, 5.0)
    if CHANGED in times:
        beyond = [one[CHANGED] - (one[PAUSED] + one[SPREAD]) / 2 for one in rounds]
        cost["a change of degree"] = (median(beyond) / boundaries, 5.0)
    step_s = median(times[WHOLE]) / steps
    figures = []
    for what, (seconds, limit_ms) in cost.items():
        figures.append(Figure(name=f"{name}: {what} at a step boundary", value=ms(seconds), unit="ms", limit=limit_ms))
        figures.append(Figure(name=f"{name}: of a step, {what} is", value=round(100 * seconds / step_s, 2), unit="%"))
    return figures


async def _all_times(target: Target, asks: dict[str, Ask], rounds: int) -> dict[str, Times]:
    """Seconds from the first launch to the end, by model and mode."""
    models = {target.model_name: target.model} if target.model else None
    device, workers = "cuda" if target.on_gpu else "cpu", workers_on(target)
    async with running("bench.policies:Stepwise", workers=workers, device=device, models=models) as (engine, _):
        return {name: await _times(engine, rounds, ask) for name, ask in asks.items()}


async def _times(engine: Engine, rounds: int, ask: Ask) -> Times:
    count, degrees = int(engine.stats()["ranks"]), engine.offers[ask.model].spec.diffuse.degrees
    modes = [mode for mode in MODES if count > 1 or mode in (WHOLE, PAUSED)]
    modes = [mode for mode in modes if 2 in degrees or mode not in (SPREAD, CHANGED)]
    times: Times = {mode: [] for mode in modes}
    for turn in range(-1, rounds):
        for mode in sorted(modes, key=lambda mode: (mode + turn) % len(modes)):
            ticket = await finished(engine, replace(ask, priority=mode, seed=turn + 1))
            if turn >= 0:  # the first is for whatever is made when it is first needed
                times[mode].append(service_s(ticket))
    return times


def _alone(target: Target, name: str, ask: Ask, rounds: int) -> list[Figure]:
    """A snapshot after a step, going on from it, and each component loaded from its file."""
    model = target.loaded(target.model or ask.model)
    payload = Payload(prompt=ask.prompt, guidance=ask.guidance)
    (state,) = model.encode([Task(id="a", shape=ask.shape, steps=ask.steps, seed=0, payload=payload)])
    model.step([state])
    static, dynamic = model.freeze_static(state), model.freeze(state)
    saves = _timed(target, rounds, lambda: model.freeze(state))
    resumes = _timed(target, rounds, lambda: model.thaw(static, dynamic))
    size = f"{len(dynamic) / 1e6:.3g} MB"
    figures = [
        Figure(name=f"{name}: a snapshot of {size}", value=ms(saves), unit="ms"),
        Figure(name=f"{name}: going on from it elsewhere", value=ms(resumes), unit="ms"),
    ]
    for component, part in model.offer.components.items():
        gigabytes, whole = model.offer.spec.part_bytes[part] / 1e9, [part]
        seconds = _timed(target, 3, partial(model.load, whole), partial(model.drop, whole))
        figures.append(Figure(name=f"{name}: loading {component}, {gigabytes:.3g} GB", value=seconds, unit="s"))
    return figures


def _timed(
    target: Target, rounds: int, work: Callable[[], object], before: Callable[[], object] = lambda: None
) -> float:
    """Median seconds of `work`, each after `before`; the first round is not counted."""
    took = []
    for _ in range(rounds + 1):
        before()
        began = target.now()
        work()
        took.append(target.now() - began)
    return median(took[1:])


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main(measure)
