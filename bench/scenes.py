"""The two worlds of `bench.calibration`: real workers on the embedded models, eight paced ranks of a published table.

Rules: the real one is profiled just before, at the very sizes that it is asked for, so that only the model of queueing
and planning is on trial; the paced one's times are a third of the table's, so that it plays within minutes.
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

PUBLISHED = "profiles/published/h100-flux1-dev-modelled.json"
COMPRESSED = 3.0


class Scene(Value, frozen=True, kw_only=True):
    """Who serves what. `noise` is the standard deviation of log(step time) that the simulator draws."""

    name: str
    profiles: tuple[Profile, ...]
    offers: dict[str, Offer]
    cluster: ClusterConfig
    ranks: int
    noise: float
    classes: tuple[dict[str, Any], ...]
    per_second: float

    @property
    def models(self) -> dict[str, ModelSpec]:
        return {name: offer.spec for name, offer in self.offers.items()}

    @property
    def infos(self) -> list[RankInfo]:
        device = self.cluster.device_kind or self.cluster.device
        return [RankInfo(rank=rank, device=device) for rank in range(self.ranks)]

    def arrivals(self, seeds: int, each: int, rate: float) -> list[Arrival]:
        """`each` Poisson arrivals of every seed, one seed after the other with time to drain between them."""
        alone_s = standalone(self.profiles, self.models, self.infos)
        workload: dict[str, Any] = {
            "requests": each,
            "rate_factor": rate,
            "classes": self.classes,
            "arrivals": {"process": "poisson", "per_second": self.per_second},
        }
        found: list[Arrival] = []
        for seed in range(seeds):
            drawn = draw(read(workload), seed=seed, standalone_s=alone_s)
            begins = found[-1].at + self._drain_s(found) if found else 0.0
            found += [replace(arrival, at=begins + arrival.at) for arrival in drawn]
        return found

    def _drain_s(self, arrivals: list[Arrival]) -> float:
        return 2.0 * max(arrival.slo_s or 0.0 for arrival in arrivals)


def published_scene() -> Scene:
    """Eight paced "H100s" with TetriServe's sizes; SLOs that one rank a request can meet, but for the largest size."""
    table = read_profile(PUBLISHED)
    points = tuple(replace(point, seconds=point.seconds / COMPRESSED) for point in table.points)
    profile = replace(table, points=points)
    kinds = (("256", 0.3, 1.5), ("512", 0.3, 2.5), ("1024", 0.3, 7.0), ("2048", 0.1, 15.0))
    classes = tuple(
        {"name": size, "model": table.model, "size": f"{size}x{size}", "steps": 28, "share": share}
        | {"slo": slo / COMPRESSED}
        for size, share, slo in kinds
    )
    return Scene(
        name="8 paced ranks",
        profiles=(profile,),
        offers={table.model: _paper_offer(profile)},
        cluster=ClusterConfig(kind="paced", device_kind=table.device, memory_bytes=80 << 30),
        ranks=8,
        noise=0.0,
        classes=classes,
        per_second=2.0 * COMPRESSED,
    )


async def measured_scene(folder: Path) -> Scene:
    """Two real workers on the embedded models, profiled here and now."""
    offers = {name: _narrowed(describe(name, name)) for name in (IMAGE, VIDEO)}
    cluster = ClusterConfig()
    profiles = await _profiled(offers, cluster, folder)
    image, video = {"model": IMAGE, "guidance": 3.0}, {"model": VIDEO, "guidance": 3.0, "frames": 9}
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
        per_second=2.0,
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
