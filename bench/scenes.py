"""The worlds of `bench.calibration` and `bench.live`: real workers on the embedded models, eight paced ranks.

Rules: the real one is profiled just before, at the very sizes that it is asked for, so that only the model of queueing
and planning is on trial; the paced ones' times are a third of the tables', so that they play within minutes. A load is
the work of its requests, one by one on one rank each, over the ranks' time: no policy decides it.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from math import log
from pathlib import Path
from statistics import median
from typing import Any

from msgspec.structs import replace

from bench.rig import IMAGE, VIDEO
from sfumato.cli.worlds import standalone
from sfumato.core.values import ModelSpec, RankInfo, Shape, Value
from sfumato.cost import Profile, read_profile, spec_of
from sfumato.models import Offer, Range, describe
from sfumato.profiling import Bench, Campaign, hardware, measure, versions
from sfumato.runtime.cluster import ProcessCluster
from sfumato.runtime.crew import ClusterConfig
from sfumato.workload.arrivals import Arrival, draw
from sfumato.workload.load import read
from sfumato.workload.spec import Workload

COMPRESSED = 3.0
SEVENTY, FORTY = 70 << 30, 40 << 30  # what weights and jobs may take of an H100, of an L20


class Scene(Value, frozen=True, kw_only=True):
    """Who serves what. `noise` is the standard deviation of log(step time) that the simulator draws."""

    name: str
    profiles: tuple[Profile, ...]
    offers: dict[str, Offer]
    cluster: ClusterConfig
    ranks: int
    noise: float
    classes: tuple[dict[str, Any], ...]

    @property
    def models(self) -> dict[str, ModelSpec]:
        return {name: offer.spec for name, offer in self.offers.items()}

    @property
    def infos(self) -> list[RankInfo]:
        device = self.cluster.device_kind or self.cluster.device
        memory: dict[str, Any] = {"memory_bytes": self.cluster.memory_bytes} if self.cluster.memory_bytes else {}
        return [RankInfo(rank=rank, device=device, **memory) for rank in range(self.ranks)]

    def arrivals(self, seeds: int, each: int, load: float) -> list[Arrival]:
        """`each` Poisson arrivals of every seed, one seed after the other with time to drain between them.

        `load` is the part of the ranks' time that they would take one by one, each on one rank.
        """
        alone_s = standalone(self.profiles, self.models, self.infos)
        workload = self._workload(each, self._per_second(load))
        found: list[Arrival] = []
        for seed in range(seeds):
            drawn = draw(workload, seed=seed, standalone_s=alone_s)
            begins = found[-1].at + self._drain_s(found) if found else 0.0
            found += [replace(arrival, at=begins + arrival.at) for arrival in drawn]
        return found

    def _per_second(self, load: float) -> float:
        alone_s = standalone(self.profiles, self.models, self.infos[:1])
        work_s = share = 0.0
        for one in self._workload(1, 1.0).classes:
            guided = one.guidance > 1.0 and not self.offers[one.model].distilled
            work_s += one.share * alone_s(one.model, one.shape, one.steps, guided)
            share += one.share
        return load * self.ranks * share / work_s

    def _workload(self, requests: int, per_second: float) -> Workload:
        arrivals = {"process": "poisson", "per_second": per_second}
        return read({"requests": requests, "classes": self.classes, "arrivals": arrivals})

    def _drain_s(self, arrivals: list[Arrival]) -> float:
        return 2.0 * max(arrival.slo_s or 0.0 for arrival in arrivals)


def flux_scene() -> Scene:
    """TetriServe's sizes on eight H100s, with its SLOs and a fifth more: large ones need several ranks."""
    kinds = (("256", 0.3, 1.8), ("512", 0.3, 2.4), ("1024", 0.3, 3.6), ("2048", 0.1, 6.0))
    classes = tuple(_class("flux1-dev", size, 28, share, slo) for size, share, slo in kinds)
    return paced_scene("8 paced H100", ("h100-flux1-dev",), classes, SEVENTY)


def sd3_scene() -> Scene:
    """SD3 on eight L20s, where batches of unlike sizes pay; the larger sizes need several ranks."""
    kinds = (("512", 0.5, 3.0), ("1024", 0.35, 7.0), ("1536", 0.15, 11.0))
    classes = tuple(_class("sd3-medium", size, 28, share, slo) for size, share, slo in kinds)
    return paced_scene("8 paced L20", ("l20-sd3-medium",), classes, FORTY)


def both_scene() -> Scene:
    """FLUX.1, whose degree can change, beside SD3, whose unlike sizes share batches, on eight H100s."""
    flux = (("256", 0.2, 1.8), ("512", 0.2, 2.4), ("1024", 0.2, 3.6), ("2048", 0.07, 6.0))
    sd3 = (("512", 0.13, 1.8), ("768", 0.1, 2.7), ("1024", 0.1, 4.2))
    classes = tuple(_class("flux1-dev", size, 28, share, slo) for size, share, slo in flux)
    classes += tuple(_class("sd3-medium", size, 50, share, slo) for size, share, slo in sd3)
    return paced_scene("8 paced H100, two models", ("h100-flux1-dev", "h100-sd3-medium"), classes, SEVENTY)


def paced_scene(name: str, files: tuple[str, ...], classes: tuple[dict[str, Any], ...], memory_bytes: int) -> Scene:
    """Eight paced ranks with the times of published tables, a third of them, and their modelled stages and batches."""
    profiles = tuple(faster(read_profile(f"profiles/modelled/{file}.json")) for file in files)
    device = profiles[0].device
    return Scene(
        name=name,
        profiles=profiles,
        offers={one.model: _paper_offer(one) for one in profiles},
        cluster=ClusterConfig(kind="paced", device_kind=device, memory_bytes=memory_bytes),
        ranks=8,
        noise=0.0,
        classes=classes,
    )


def faster(profile: Profile) -> Profile:
    """The profile with all times of units divided by COMPRESSED; a launch takes what it takes here."""
    points = tuple(replace(point, seconds=point.seconds / COMPRESSED) for point in profile.points)
    return replace(profile, points=points)


def _class(model: str, size: str, steps: int, share: float, slo: float) -> dict[str, Any]:
    where = {"name": f"{model} {size}", "model": model, "size": f"{size}x{size}", "steps": steps}
    return {**where, "share": share, "slo": slo / COMPRESSED}


async def measured_scene(folder: Path) -> Scene:
    """Two real workers on the embedded models, profiled here and now."""
    offers = {name: _narrowed(describe(name, name)) for name in (IMAGE, VIDEO)}
    cluster = ClusterConfig()
    profiles = await _profiled(offers, cluster, folder)
    image, video = {"model": IMAGE}, {"model": VIDEO, "frames": 9}
    return Scene(
        name="2 real workers",
        profiles=profiles,
        offers=offers,
        cluster=cluster,
        ranks=2,
        noise=median(_spreads(profiles)),
        classes=(
            {"name": "small", "size": "64x64", "steps": 8, "share": 0.4, "slo_scale": 2.5, **image},
            {"name": "large", "size": "128x128", "steps": 8, "share": 0.4, "slo_scale": 2.5, **image},
            {"name": "clip", "size": "64x64", "steps": 10, "share": 0.2, "slo_scale": 4.0, **video},
        ),
    )


async def _profiled(offers: dict[str, Offer], config: ClusterConfig, folder: Path) -> tuple[Profile, ...]:
    loop = asyncio.get_running_loop()
    cluster = ProcessCluster(offers.values(), loop.time, config)
    bench = Bench(cluster, loop.time)
    try:
        await cluster.start(2)
        profiles = []
        for place, offer in enumerate(offers.values()):
            campaign = Campaign(
                path=str(folder / f"{place}.json"),
                date=datetime.now(UTC).date().isoformat(),
                command="python -m bench.calibration",
                hardware=hardware(list(bench.ranks.values()), config.threads),
                versions=versions(),
                density="quick",
            )
            profiles.append(await measure(offer, bench, campaign))
    finally:
        await cluster.close()
    return tuple(profiles)


def _narrowed(offer: Offer) -> Offer:
    """With just the sizes that are asked for, which is then all that is profiled."""
    if offer.modality == "video":
        small = Shape(height=64, width=64, frames=9)
        return replace(offer, sizes=Range(min=64, max=64), frames=Range(min=9, max=9), default_shape=small)
    return replace(offer, sizes=Range(min=64, max=128, step=64), default_shape=Shape(height=64, width=64))


def _spreads(profiles: tuple[Profile, ...]) -> list[float]:
    """Standard deviations of log(time), from the 10th and 90th percentiles (2.563 of them apart)."""
    return [
        log(point.p90_s / point.p10_s) / 2.563
        for profile in profiles
        for point in profile.points
        if point.p10_s and point.p90_s
    ]


def _paper_offer(profile: Profile) -> Offer:
    """What a paced worker needs of a model that is only a table."""
    return Offer(
        spec=spec_of(profile),
        family="flux",
        path="",
        modality="image",
        sizes=Range(min=256, max=2048, step=256),
        frames=Range(min=1, max=1),
        max_pixels=2048 * 2048,
        default_shape=Shape(height=1024, width=1024),
        default_steps=28,
        default_guidance=3.5,
        distilled=True,
        components={},
    )
