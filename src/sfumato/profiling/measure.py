"""Measures the settings of a grid and writes the profile after each.

Rules: the grid is gone through several times, because a machine's pace drifts (by 20% within half a minute on a shared
one): what is measured once, at one moment, makes one size cheap and the next dear. The first pass fills the file, the
later ones make its points better. Weighing spoils times, so it comes after them. What the file holds already is not
measured again, so a run that was cut short goes on where it stopped.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from statistics import fmean, median

import numpy as np
from msgspec import convert
from msgspec.structs import replace

from sfumato.core.values import RankInfo, Stage, Value
from sfumato.cost.profile import Mixed, Point, Profile, read_profile, write_profile
from sfumato.errors import ConfigError, ProfileError
from sfumato.models.offer import Offer
from sfumato.profiling.bench import Bench
from sfumato.profiling.crews import timed, weighed
from sfumato.profiling.grid import GRIDS, Setting, grid, reusing
from sfumato.profiling.reuse import with_reuse
from sfumato.profiling.weights import with_weight

PASSES = 3
SAMPLES = 24  # of a point, from all groups in all passes
# Of these the largest peak counts. On a CPU it includes what the allocator has not given back: five decodes of a tiny
# video took 60 to 115 MiB, five steps 2.6 to 3.9 MiB, while a GPU's allocator counts exactly.
WEIGHINGS = 2
USUAL = 0.95  # of launches; the longest of the others are the machine's hiccups


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
    """Progress: `done` of `total` visits; the setting of the last and its point so far (None: it was there before)."""

    done: int
    total: int
    setting: Setting
    point: Point | Mixed | None


async def measure(
    offer: Offer, bench: Bench, campaign: Campaign, progress: Callable[[Step], None] = lambda _: None
) -> Profile:
    """Fill the profile of `offer` at `campaign.path` on the ranks of `bench`, and return it."""
    profile = _begin(offer, bench, campaign)
    there: set[object] = {point.key for point in profile.points} | {one.key for one in profile.mixed}
    heavy: set[object] = {peak.key for peak in profile.peaks}
    settings = grid(offer, campaign.density, len(bench.ranks))
    missing = [setting for setting in settings if setting.key not in there]
    visits = [setting for setting in settings if setting not in missing] + missing * PASSES
    taken = _Taken(offer, bench, GRIDS[campaign.density].seconds / PASSES)
    for done, setting in enumerate(visits, start=1):
        point = None
        if setting in missing:
            point = await taken.visit(setting)
            profile = replace(_with(profile, point), launch_gap_s=taken.gap_s or profile.launch_gap_s)
            write_profile(campaign.path, profile)
        # a batch of its largest member's equals takes more than one of unlike shapes, and halves what the whole does
        if setting.key not in heavy and not setting.others and setting.cfg == 1:
            heavy.add(setting.key)
            chunks = [one for _ in range(WEIGHINGS) for one in await weighed(offer, bench, setting)]
            profile = with_weight(profile, setting, chunks)
            write_profile(campaign.path, profile)
        progress(Step(done=done, total=len(visits), setting=setting, point=point))
    kept = {held.key for held in profile.held}
    for setting in reusing(offer, campaign.density):
        if (setting.stage, setting.shape, setting.quality) not in kept:
            profile = with_weight(profile, setting, await weighed(offer, bench, setting))
            write_profile(campaign.path, profile)
    profile = await _measure_loads(offer, bench, profile)
    profile = await with_reuse(offer, bench, profile)
    write_profile(campaign.path, profile)
    return profile


class _Taken:
    """What the chunks of each setting took, over all visits to it."""

    def __init__(self, offer: Offer, bench: Bench, seconds: float) -> None:
        self._offer = offer
        self._bench = bench
        self._seconds = seconds
        self._samples: dict[Setting, list[float]] = {}
        self._gaps: list[float] = []

    async def visit(self, setting: Setting) -> Point | Mixed:
        """Measure a setting for a while; the point of all its samples."""
        samples = ceil(SAMPLES / (PASSES * len(self._bench.groups(setting.degree))))
        more = await timed(self._offer, self._bench, setting, seconds=self._seconds, samples=samples)
        if setting.stage is Stage.DIFFUSE:
            self._gaps += [one.gap_s for one in more]
        known = self._samples.setdefault(setting, [])
        known += [one.unit_s for one in more]
        return _point(setting, known)

    @property
    def gap_s(self) -> float:
        """Seconds around the units of a usual chunk; 0 before the first. The mean, for they add up."""
        return fmean(sorted(self._gaps)[: ceil(USUAL * len(self._gaps))]) if self._gaps else 0.0


def _point(setting: Setting, samples: Sequence[float]) -> Point | Mixed:
    low, high = np.percentile(samples, (10, 90))
    took = {"seconds": median(samples), "p10_s": float(low), "p90_s": float(high), "n": len(samples)}
    fields = {**setting.fields(), **took}
    return convert(fields, Mixed) if setting.others else convert(fields, Point)


def _with(profile: Profile, point: Point | Mixed) -> Profile:
    """The profile with this measurement in the place of an earlier one of the same key, else at the end."""
    if isinstance(point, Mixed):
        return replace(profile, mixed=tuple({one.key: one for one in (*profile.mixed, point)}.values()))
    return replace(profile, points=tuple({one.key: one for one in (*profile.points, point)}.values()))


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
        lone_first=offer.spec.lone_first,
        packs=offer.spec.diffuse.packs,
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


async def _measure_loads(offer: Offer, bench: Bench, profile: Profile) -> Profile:
    """The parts that have no load time yet, on the first rank."""
    rank = min(bench.ranks)
    missing = [part for part in sorted(offer.spec.part_bytes) if part not in profile.load_s]
    load_s = {part: await bench.load_s(rank, part) for part in missing}
    return replace(profile, load_s=profile.load_s | load_s)
