"""Measures the settings of a grid one after the other and writes the profile after each.

Rules: every group runs the same chunk at once; the first chunk of a setting is thrown away; a setting ends when its
seconds are spent or it has enough samples, but not before every group gave two. Further chunks are weighed, which would
have spoilt their times. What the file holds already is not measured again, so a run that was cut short goes on where it
stopped.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Awaitable, Callable, Sequence
from math import ceil
from pathlib import Path
from statistics import median

import numpy as np
from msgspec.structs import replace

from sfumato.core.values import RankInfo, Stage, Value
from sfumato.cost.profile import Point, Profile, read_profile, write_profile
from sfumato.errors import ConfigError, ProfileError
from sfumato.models.family import Payload, Task
from sfumato.models.offer import Offer
from sfumato.profiling.bench import Bench, Timed
from sfumato.profiling.grid import GRIDS, Setting, grid
from sfumato.profiling.weights import with_weight

SAMPLES = 24
ROUNDS = 2
# Of these the largest peak counts. On a CPU it includes what the allocator has not given back: five decodes of a tiny
# video took 60 to 115 MiB, five steps 2.6 to 3.9 MiB, while a GPU's allocator counts exactly.
WEIGHINGS = 2
CHUNK_S = 0.05  # short enough for many samples, long enough that the clock does not count
WORDS = "a lighthouse at dusk"

# One round: the same chunk on every group.
Round = Callable[[], Awaitable[list[Timed]]]


class Campaign(Value, frozen=True, kw_only=True):
    """What the profile says of itself. `date` is the caller's: nothing here reads a calendar."""

    path: str
    date: str
    command: str
    hardware: str
    versions: dict[str, str]
    density: str = "quick"
    source: str = "measured by sfumato profile"


class Step(Value, frozen=True, kw_only=True):
    """Progress: `done` of `total` settings are in the file, the last of them this one (None: it was there before)."""

    done: int
    total: int
    setting: Setting
    point: Point | None


async def measure(
    offer: Offer, bench: Bench, campaign: Campaign, progress: Callable[[Step], None] = lambda _: None
) -> Profile:
    """Fill the profile of `offer` at `campaign.path` on the ranks of `bench`, and return it."""
    profile = _begin(offer, bench, campaign)
    there, weighed = {point.key for point in profile.points}, {peak.key for peak in profile.peaks}
    settings = grid(offer, campaign.density, len(bench.ranks))
    gaps: list[float] = []
    for done, setting in enumerate(settings, start=1):
        point = None
        if _key(setting) not in there:
            point, timed = await _measure(offer, bench, setting, GRIDS[campaign.density].seconds)
            gaps += [one.gap_s for one in timed if setting.stage is Stage.DIFFUSE]
            gap_s = median(gaps) if gaps else profile.launch_gap_s
            profile = replace(profile, points=(*profile.points, point), launch_gap_s=gap_s)
            write_profile(campaign.path, profile)
        if _key(setting) not in weighed:
            chunks = [one for _ in range(WEIGHINGS) for one in await _weigh(offer, bench, setting)]
            profile = with_weight(profile, setting, chunks)
            write_profile(campaign.path, profile)
        progress(Step(done=done, total=len(settings), setting=setting, point=point))
    profile = await _measure_loads(offer, bench, profile)
    write_profile(campaign.path, profile)
    return profile


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    found = {}
    for name in ("torch", "diffusers", "sfumato"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def hardware(ranks: Sequence[RankInfo], threads: int) -> str:
    """A line for people, e.g. "cpu x2, 1 thread a worker"."""
    kinds = sorted({info.device for info in ranks})
    many = ", ".join(f"{kind} x{sum(info.device == kind for info in ranks)}" for kind in kinds)
    return f"{many}, {threads} thread{'s' if threads > 1 else ''} a worker"


def _begin(offer: Offer, bench: Bench, campaign: Campaign) -> Profile:
    """The file's profile if it is of the same thing, else an empty one."""
    devices = {info.device for info in bench.ranks.values()}
    if len(devices) != 1:
        raise ConfigError(f"device: profile one kind at a time, the workers are {sorted(devices)}", field="device")
    fresh = Profile(
        model=offer.name,
        device=devices.pop(),
        hardware=campaign.hardware,
        kind="measured",
        source=campaign.source,
        date=campaign.date,
        command=campaign.command,
        versions=campaign.versions,
        steps=offer.default_steps,
        frame_stride=offer.spec.frame_stride,
        part_bytes=offer.spec.part_bytes,
        points=(),
    )
    if not Path(campaign.path).exists():
        return fresh
    old = read_profile(campaign.path)
    for field in ("model", "device", "hardware", "kind", "versions", "part_bytes"):
        if getattr(old, field) != getattr(fresh, field):
            message = f"profile {campaign.path}: {field}: is of {getattr(old, field)}, not of {getattr(fresh, field)}"
            raise ProfileError(f"{message}; remove the file or write to another", field=field)
    return old


def _key(setting: Setting) -> tuple[object, ...]:
    return setting.stage, setting.shape, setting.degree, setting.batch, setting.guided


async def _measure(offer: Offer, bench: Bench, setting: Setting, seconds: float) -> tuple[Point, list[Timed]]:
    """One setting, all groups busy."""
    if setting.stage is Stage.DIFFUSE:
        timed = await _steps(offer, bench, setting, seconds)
    else:
        timed = await _rounds(lambda: _once(offer, bench, setting), seconds)
    samples = [one.unit_s for one in timed]
    low, high = np.percentile(samples, (10, 90))
    shape = setting.shape
    point = Point(
        stage=setting.stage,
        height=shape.height,
        width=shape.width,
        frames=shape.frames,
        degree=setting.degree,
        batch=setting.batch,
        guided=setting.guided,
        seconds=median(samples),
        p10_s=float(low),
        p90_s=float(high),
        n=len(samples),
    )
    return point, timed


async def _weigh(offer: Offer, bench: Bench, setting: Setting) -> list[Timed]:
    """One chunk of fresh jobs on every group: a step, or the whole of another stage.

    Decoding takes the same for guided jobs, but what those hold meanwhile is more.
    """
    crews = _crews(offer, bench, replace(setting, guided=setting.guided or setting.stage is Stage.DECODE))
    units = offer.spec.units(setting.stage, setting.shape, 1)
    try:
        if setting.stage is not Stage.ENCODE:
            await bench.run(Stage.ENCODE, 1, crews)
        return await bench.run(setting.stage, units, crews, weigh=True)
    finally:
        _forget(bench, crews)


async def _steps(offer: Offer, bench: Bench, setting: Setting, seconds: float) -> list[Timed]:
    """Chunks of denoising steps of one batch of jobs a group, which starts anew when its steps are used up."""
    crews, left, units = _crews(offer, bench, setting), 0, 1

    async def chunk() -> list[Timed]:
        nonlocal crews, left
        if left < units:
            _forget(bench, crews)
            crews, left = _crews(offer, bench, setting), offer.max_steps
            await bench.run(Stage.ENCODE, 1, crews)
        left -= units
        return await bench.run(Stage.DIFFUSE, units, crews)

    try:
        first = await chunk()
        second = await chunk()
        step_s = min(median(one.unit_s for one in first), median(one.unit_s for one in second))
        units = min(max(1, ceil(CHUNK_S / max(step_s, 1e-6))), offer.max_steps)
        return await _rounds(chunk, seconds, warm=True)
    finally:
        _forget(bench, crews)


async def _once(offer: Offer, bench: Bench, setting: Setting) -> list[Timed]:
    """Encode, or the whole of decode, of fresh jobs. Decoding noise takes as long as decoding a picture."""
    crews = _crews(offer, bench, setting)
    try:
        encoded = await bench.run(Stage.ENCODE, 1, crews)
        if setting.stage is Stage.ENCODE:
            return encoded
        units = offer.spec.units(Stage.DECODE, setting.shape, offer.default_steps)
        return await bench.run(Stage.DECODE, units, crews)
    finally:
        _forget(bench, crews)


async def _rounds(one: Round, seconds: float, *, warm: bool = False) -> list[Timed]:
    if not warm:
        await one()
    timed: list[Timed] = []
    rounds, spent = 0, 0.0
    while rounds < ROUNDS or (spent < seconds and len(timed) < SAMPLES):
        more = await one()
        timed += more
        rounds += 1
        spent += max(each.total_s for each in more)
    return timed


def _crews(offer: Offer, bench: Bench, setting: Setting) -> list[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Fresh jobs for every group."""
    guidance = offer.default_guidance if setting.guided == offer.guided(offer.default_guidance) else None
    if guidance is None:
        guidance = 3.0 if setting.guided else 1.0
    payload = Payload(prompt=WORDS, guidance=guidance)
    task = Task(id="", shape=setting.shape, steps=offer.max_steps, seed=0, payload=payload)
    return [
        (group, tuple(bench.accept(offer.name, task) for _ in range(setting.batch)))
        for group in bench.groups(setting.degree)
    ]


def _forget(bench: Bench, crews: Sequence[tuple[tuple[int, ...], tuple[str, ...]]]) -> None:
    for _, jobs in crews:
        bench.forget(jobs)


async def _measure_loads(offer: Offer, bench: Bench, profile: Profile) -> Profile:
    """The parts that have no load time yet, on the first rank."""
    rank = min(bench.ranks)
    missing = [part for part in sorted(offer.spec.part_bytes) if part not in profile.load_s]
    load_s = {part: await bench.load_s(rank, part) for part in missing}
    return replace(profile, load_s=profile.load_s | load_s)
