"""The composition root: builds the Serving for serve, simulate, replay and profile alike.

Drivers are handed what is built here; they never import policies or cost models themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import msgspec

from sfumato.core.commands import Launch, Load
from sfumato.core.cost import Costs, Overheads
from sfumato.core.events import AnyEvent, Arrived, WorkerUp
from sfumato.core.journal import Checkpoint, Entry, Journal
from sfumato.core.policy import Policy
from sfumato.core.serving import Serving
from sfumato.core.values import ModelSpec, PartId, Rank, RankInfo, Request, Value
from sfumato.cost import Profile, ProfileCosts
from sfumato.errors import ConfigError
from sfumato.policies import POLICIES
from sfumato.runtime.cluster import ProcessCluster
from sfumato.runtime.crew import ClusterConfig
from sfumato.runtime.engine import Engine
from sfumato.sim import Noise, Pace, Simulation, even, steady
from sfumato.sim.troubles import deaths, returns, slowed
from sfumato.workload.pool import Trouble


class Setup(Value, frozen=True, kw_only=True):
    """Everything that decides how a Serving plans; every journal segment carries it, so that it can be replayed."""

    models: dict[str, ModelSpec]
    profiles: tuple[Profile, ...] = ()
    policy: str = "sfumato"
    options: dict[str, Any] = {}
    overheads: Overheads = Overheads()

    def costs(self, *, correct: bool = True) -> ProfileCosts:
        """The cost model; without correction it is what the simulator takes for the truth."""
        return ProfileCosts(self.profiles, self.models, correct=correct, overheads=self.overheads)


def nowhere(_: Entry) -> None:
    """A journal that is not kept."""


def build(setup: Setup, write: Callable[[Entry], object] = nowhere, *, strict: bool = False) -> Serving:
    """The Serving of a set-up. Raises ConfigError for an unknown policy, ProfileError for an unknown model."""
    return Serving(
        models=setup.models,
        costs=setup.costs(),
        policy=policy_named(setup.policy, setup.options),
        fallback=policy_named("fixed"),
        journal=Journal(write),
        setup=msgspec.to_builtins(setup),
        strict=strict,
    )


def rebuild(checkpoint: Checkpoint) -> Serving:
    """The Serving that wrote a checkpoint, without its state."""
    return build(msgspec.convert(checkpoint.setup, Setup), strict=False)


def live(
    setup: Setup,
    offers: Mapping[str, Any],
    cluster: ClusterConfig,
    *,
    clock: Callable[[], float],
    write: Callable[[Entry], object] = nowhere,
    max_waiting: int = 256,
) -> tuple[Engine, ProcessCluster]:
    """The live engine on worker processes; start it on the loop whose `time` is `clock`."""
    serving = build(setup, write)
    pacing = BarePacing(serving, setup) if cluster.kind == "paced" else None
    processes = ProcessCluster(offers.values(), clock, cluster, pacing)
    return Engine(serving, processes, offers, max_waiting=max_waiting), processes


def simulated(
    setup: Setup,
    ranks: Sequence[RankInfo],
    requests: Iterable[Request],
    *,
    noise: Noise = steady,
    pace: Pace = even,
    troubles: Sequence[Trouble] = (),
    write: Callable[[Entry], object] = nowhere,
    script: Iterable[AnyEvent] = (),
    resident: Mapping[Rank, Sequence[PartId]] | None = None,
    truth: Costs | None = None,
) -> Simulation:
    """A simulation of the set-up on `ranks`; the profiles are the truth, the planner's correction only its belief.

    `resident` says which weights are where at the start (default: all on every rank); `truth` stands in for the
    profiles where the planner shall be wrong; `noise`, `pace` and `troubles` are what no profile foretells.
    """
    parts = tuple(sorted({part for model in setup.models.values() for part in model.part_bytes}))
    there = {info.rank: parts for info in ranks} if resident is None else resident
    events: list[AnyEvent] = [WorkerUp(at=0.0, info=info, parts=tuple(there[info.rank])) for info in ranks]
    events += [Arrived(at=request.arrived_at, request=request) for request in requests]
    return Simulation(
        build(setup, write),
        truth or setup.costs(correct=False),
        [*events, *returns(troubles, ranks, there), *script],
        noise,
        slowed(troubles, pace),
        deaths(troubles, there),
    )


class BarePacing:
    """Paced workers take what the profiles say, whatever the planner has come to believe."""

    def __init__(self, serving: Serving, setup: Setup) -> None:
        self._serving = serving
        self._truth = setup.costs(correct=False)

    def chunk_s(self, launch: Launch) -> tuple[float, float]:
        """(start_s, unit_s). The control gap is left out: a live chunk has its own."""
        work = self._serving.view().work(launch.chunk)
        gap_s = self._truth.start_s(work, launch.chunk.group, (None,) * len(launch.sources))
        moves_s = self._truth.start_s(work, launch.chunk.group, launch.sources) - gap_s
        return moves_s, self._truth.unit_s(work)

    def load_s(self, load: Load) -> float:
        """Seconds of a load."""
        pool = self._serving.pool
        return self._truth.load_s(load.part, pool.loading[load.rank][load.part], pool.ranks[load.rank].device)


def policy_named(name: str, options: dict[str, Any] | None = None) -> Policy:
    """A policy of the table, or one of the user's own as `package.module:Class`.

    Raises ConfigError where the name is unknown, the module or class is missing, or an option is.
    """
    found = _policy_class(name)
    options_type = getattr(found, "Options", None)
    if options_type is None:
        if options:
            raise ConfigError(f"policy: {name} takes no options, got {sorted(options)}", field="policy")
        policy: Policy = found()
        return policy
    try:
        policy = found(msgspec.convert(options or {}, options_type))
    except msgspec.ValidationError as error:
        known = ", ".join(options_type.__struct_fields__)
        raise ConfigError(f"policy: wrong options for {name} ({known}): {error}", field="policy") from error
    return policy


def explains(name: str) -> bool:
    """Whether a policy tells the reasons of its decisions if its option `explain` asks for them. Raises ConfigError."""
    return "explain" in getattr(getattr(_policy_class(name), "Options", None), "__struct_fields__", ())


def _policy_class(name: str) -> Any:
    target = POLICIES.get(name, name)
    module_name, _, class_name = target.partition(":")
    if not class_name:
        known = ", ".join(sorted(POLICIES))
        raise ConfigError(f"policy: {name!r} is unknown; use one of {known}, or package.module:Class", field="policy")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"policy: no module {error.name!r} for {target}; is it on PYTHONPATH?", field="policy"
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        raise ConfigError(f"policy: module {module_name} has no {class_name}", field="policy")
    if not callable(getattr(found, "plan", None)):
        raise ConfigError(f"policy: {target} has no plan(view); name a class that has (core/policy.py)", field="policy")
    return found
