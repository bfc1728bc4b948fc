"""What a workload file is simulated in: specs and profiles of its models, its ranks, its requests' standalone times.

Rules: a model's profile is the file that the workload names, else one of `--profile`, else one that `sfumato profile`
wrote. An embedded model needs none: its times are then estimates. What is not measured is said, never left to be found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from sfumato.assemble import Setup
from sfumato.config import EMBEDDED, profile_folder
from sfumato.core.cost import Overheads, Work
from sfumato.core.values import ModelSpec, PartId, Rank, RankInfo, Request, Shape, Stage, Value
from sfumato.cost import Profile, ProfileCosts, read_profile, read_profiles, spec_of
from sfumato.cost.profile import Point as ProfilePoint
from sfumato.errors import ConfigError, ProfileError
from sfumato.models import describe
from sfumato.sim.noise import Pace, drifting
from sfumato.workload.arrivals import draw, requests
from sfumato.workload.slo import Standalone
from sfumato.workload.spec import ModelEntry, RequestClass, Workload

Models = Mapping[str, ModelSpec]


class World(Value, frozen=True, kw_only=True):
    """The models and ranks of a simulation; `resident` are the weights of each rank at the start.

    The profiles are the truth; the planner takes their units to be `believed` times as long.
    """

    models: dict[str, ModelSpec]
    profiles: tuple[Profile, ...]
    ranks: tuple[RankInfo, ...]
    resident: dict[Rank, tuple[PartId, ...]]
    overheads: Overheads = Overheads()
    believed: float = 1.0

    def setup(self, policy: str, options: dict[str, Any] | None = None) -> Setup:
        """For `assemble`: what the planner is told."""
        return Setup(
            models=self.models,
            profiles=tuple(misjudged(profile, self.believed) for profile in self.profiles),
            policy=policy,
            options=options or {},
            overheads=self.overheads,
        )

    @property
    def truth(self) -> ProfileCosts:
        """What things really take."""
        return ProfileCosts(self.profiles, self.models, correct=False, overheads=self.overheads)

    def pace(self, workload: Workload, seed: int) -> Pace:
        """How the ranks' speed wanders in a run."""
        return drifting(seed, workload.drift, workload.drift_s, self.ranks)

    def standalone_s(self) -> Standalone:
        """Seconds that a request takes alone on the idle ranks."""
        return standalone(self.profiles, self.models, self.ranks)

    def on_one_s(self) -> Standalone:
        """The same on one rank."""
        return standalone(self.profiles, self.models, self.ranks[:1])

    def draw(self, workload: Workload, seed: int) -> list[Request]:
        """The requests of a run."""
        return requests(draw(workload, seed=seed, standalone_s=self.standalone_s(), on_one_s=self.on_one_s()))

    def remarks(self, workload: Workload) -> list[str]:
        """Where the times come from, a line a model; what no one measured as such is named."""
        return [self._remark(name, workload) for name in self.models]

    def _remark(self, name: str, workload: Workload) -> str:
        mine = [profile for profile in self.profiles if profile.model == name]
        said = "; ".join(f"{profile.kind} on {profile.device} ({profile.source})" for profile in mine)
        classes = [entry for entry in workload.classes if entry.model == name]
        passes = not workload.model(name).distilled
        guessed = [
            f"{stage} of {_listed(names, classes)}"
            for stage in Stage
            if (names := [entry.name for entry in classes if self._estimated(entry, stage, passes)])
        ]
        return f"{name}: {said or 'no profile'}" + (f"; estimated: {'; '.join(guessed)}" if guessed else "")

    def _estimated(self, entry: RequestClass, stage: Stage, passes: bool) -> bool:
        guided = passes and entry.guidance > 1.0
        work = Work(model=entry.model, stage=stage, shapes=(entry.shape,), guided=guided, device=self.ranks[0].device)
        return self.truth.estimated(work)


def world_of(workload: Workload, sources: Sequence[str] = (), factor: float = 1.0) -> World:
    """The world of a workload with `sources` of further profiles. Raises ConfigError, ProfileError.

    `factor` multiplies what in the profiles is modelled beside the steps.
    """
    given = read_profiles(*sources)
    names = list(dict.fromkeys([entry.name for entry in workload.models] + [e.model for e in workload.classes]))
    found = {name: _profiles(workload.model(name), given) for name in names}
    bare = [name for name, profiles in found.items() if not profiles]
    if bare and workload.believed != 1.0:
        message = f'believed: "{bare[0]}" has no profile that could be misjudged; name one in its [[models]] table'
        raise ConfigError(message, field="believed")
    models = {name: _spec(name, profiles) for name, profiles in found.items()}
    if not workload.batches:
        models = {name: _one_by_one(model) for name, model in models.items()}
    ranks = workload.pool.infos()
    return World(
        models=models,
        profiles=tuple(scaled(profile, factor) for profiles in found.values() for profile in profiles),
        ranks=ranks,
        resident={
            info.rank: _parts(models, holds) for info, holds in zip(ranks, workload.pool.holds_of(), strict=True)
        },
        overheads=workload.costs,
        believed=workload.believed,
    )


def _one_by_one(model: ModelSpec) -> ModelSpec:
    """The model without batches."""
    stages = {str(stage): replace(model.stage(stage), max_batch=1, packs=False) for stage in Stage}
    return replace(model, **stages)


def _parts(models: Models, holds: Sequence[Stage]) -> tuple[PartId, ...]:
    """The parts of some stages, and those that belong to no stage."""
    placed = {part for model in models.values() for stage in Stage for part in model.stage(stage).parts}
    kept = {part for model in models.values() for stage in holds for part in model.stage(stage).parts}
    every = {part for model in models.values() for part in model.part_bytes}
    return tuple(sorted(kept | (every - placed)))


def standalone(profiles: Sequence[Profile], models: Models, ranks: Sequence[RankInfo]) -> Standalone:
    """Seconds of a request on idle `ranks`: each stage at its fastest degree on the fastest kind of device."""
    costs = ProfileCosts(profiles, models, correct=False)
    devices = sorted({info.device for info in ranks})

    def stage_s(model: str, stage: Stage, shape: Shape, guided: bool, device: str) -> float:
        degrees = [degree for degree in models[model].stage(stage).degrees if degree <= len(ranks)] or [1]
        works = (
            Work(model=model, stage=stage, shapes=(shape,), degree=degree, guided=guided, device=device)
            for degree in degrees
        )
        return min(costs.unit_s(work) for work in works)

    def seconds(model: str, shape: Shape, steps: int, guided: bool) -> float:
        spec = models[model]
        return min(
            sum(spec.units(stage, shape, steps) * stage_s(model, stage, shape, guided, device) for stage in Stage)
            for device in devices
        )

    return seconds


def _listed(names: Sequence[str], classes: Sequence[RequestClass]) -> str:
    return "all classes" if len(names) == len(classes) else ", ".join(names)


def _profiles(entry: ModelEntry, given: Sequence[Profile]) -> tuple[Profile, ...]:
    if entry.files:
        return tuple(replace(read_profile(file), model=entry.name) for file in entry.files)
    named = tuple(profile for profile in given if profile.model == entry.name)
    if named or not profile_folder().is_dir():
        return named
    return tuple(profile for profile in _kept() if profile.model == entry.name)


def _kept() -> tuple[Profile, ...]:
    """Those that `sfumato profile` wrote; an empty folder is none."""
    try:
        return read_profiles(profile_folder())
    except ProfileError:
        return ()


def _spec(name: str, profiles: Sequence[Profile]) -> ModelSpec:
    if name in EMBEDDED:
        return describe(EMBEDDED[name], name).spec
    if not profiles:
        raise ConfigError(
            f'models: there is no profile for "{name}"; set profile = "FILE.json" in its [[models]] table, '
            "or name one that holds it with --profile",
            field="profile",
        )
    return spec_of(profiles[0])


def misjudged(profile: Profile, believed: float) -> Profile:
    """With every unit so many times as long."""
    if believed == 1.0:
        return profile
    return replace(profile, points=tuple(replace(p, seconds=p.seconds * believed) for p in profile.points))


def scaled(profile: Profile, factor: float) -> Profile:
    """With its estimates multiplied: seconds of encode and decode, what a further member adds to a batch, bytes."""
    if factor == 1.0:
        return profile
    alone = {point.key: point.seconds for point in profile.points if point.batch == 1}
    return replace(
        profile,
        points=tuple(_scaled(point, alone, factor) for point in profile.points),
        peaks=tuple(replace(peak, bytes=int(peak.bytes * factor)) for peak in profile.peaks),
        held=tuple(replace(held, bytes=int(held.bytes * factor)) for held in profile.held),
    )


def _scaled(point: ProfilePoint, alone: Mapping[Any, float], factor: float) -> ProfilePoint:
    if not point.estimated or (point.stage is Stage.DIFFUSE and point.batch == 1):
        return point
    if point.stage is not Stage.DIFFUSE:
        return replace(point, seconds=point.seconds * factor)
    one_s = alone[replace(point, batch=1).key]
    return replace(point, seconds=min(one_s + (point.seconds - one_s) * factor, point.batch * one_s))
