"""What a workload file is simulated in: specs and profiles of its models, its ranks, its requests' standalone times.

Rules: a model's profile is the file that the workload names, else one of `--profile`, else one that `sfumato profile`
wrote. An embedded model needs none: its times are then estimates. What is not measured is said, never left to be found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from sfumato.config import EMBEDDED, profile_folder
from sfumato.core.cost import Work
from sfumato.core.values import ModelSpec, RankInfo, Shape, Stage, Value
from sfumato.cost import Profile, ProfileCosts, read_profile, read_profiles, spec_of
from sfumato.errors import ConfigError, ProfileError
from sfumato.models import describe
from sfumato.workload.slo import Standalone
from sfumato.workload.spec import ModelEntry, RequestClass, Workload

Models = Mapping[str, ModelSpec]


class World(Value, frozen=True, kw_only=True):
    """The models and ranks of a simulation."""

    models: dict[str, ModelSpec]
    profiles: tuple[Profile, ...]
    ranks: tuple[RankInfo, ...]

    @property
    def costs(self) -> ProfileCosts:
        return ProfileCosts(self.profiles, self.models, correct=False)

    def standalone_s(self) -> Standalone:
        """Seconds that a request takes alone on the idle ranks."""
        return standalone(self.profiles, self.models, self.ranks)

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
        return self.costs.estimated(work)


def world_of(workload: Workload, sources: Sequence[str] = ()) -> World:
    """The world of a workload with `sources` of further profiles. Raises ConfigError, ProfileError."""
    given = read_profiles(*sources)
    names = list(dict.fromkeys([entry.name for entry in workload.models] + [e.model for e in workload.classes]))
    found = {name: _profiles(workload.model(name), given) for name in names}
    return World(
        models={name: _spec(name, profiles) for name, profiles in found.items()},
        profiles=tuple(profile for profiles in found.values() for profile in profiles),
        ranks=workload.pool.infos(),
    )


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
    if entry.profile:
        return (replace(read_profile(entry.profile), model=entry.name),)
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
