"""A trial: one policy (or the offline bound) on one workload with one seed. What is run, kept and compared.

Rules: every policy of a seed gets the same arrivals and the same noise; a key covers the workload with its trace, the
profiles, the policy with its options, the seed, and the source of the planner's folders that it can reach.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sfumato.assemble import explains, policy_named, simulated
from sfumato.cli.choices import named
from sfumato.cli.worlds import World, world_of
from sfumato.config import profile_folder, usable_cores
from sfumato.core.journal import Entry
from sfumato.core.values import Request, Value
from sfumato.policies import POLICIES
from sfumato.report.journal import tell
from sfumato.report.metrics import measure
from sfumato.report.story import Story
from sfumato.runtime.records import JournalFolder
from sfumato.sim import Simulation, lognormal
from sfumato.sim.sources import fingerprint
from sfumato.sim.sweep import Kept, sweep
from sfumato.workload.spec import Trace, Workload

BOUND = "bound"  # in a policy's place: what no schedule exceeds
READ = ("assemble", "cli.trials", "cli.worlds", "core.serving", "policies.fixed", "report.journal", "report.metrics")
SMALL = 3000  # requests in all that are played before other processes would have started


class Trial(Value, frozen=True, kw_only=True):
    """`policy` may have options: "NAME,KEY=VALUE". A run is given up once more than `missable` of all are missed.

    With `explain` the journal has the reasons of decisions, where the policy tells them; nothing else differs.
    """

    workload: Workload
    policy: str
    seed: int
    sources: tuple[str, ...] = ()
    factor: float = 1.0
    missable: float | None = None
    explain: bool = False
    journal: str = ""

    @property
    def world(self) -> World:
        """What it is played in."""
        return _world(msgspec.json.encode(self.workload), self.sources, self.factor)

    @property
    def seeds(self) -> range:
        """Of the workload's runs, one after the other."""
        return range(self.workload.seed, self.workload.seed + self.workload.seeds)

    def requests(self) -> list[Request]:
        """What arrives."""
        return self.world.draw(self.workload, self.seed)


class Ran(Value, frozen=True, kw_only=True):
    """Figures of a trial under the keys of `Metrics.results`, and (class, latency, on time) of each request in turn."""

    figures: dict[str, Any]
    served: tuple[tuple[str, float | None, bool | None], ...] = ()
    gave_up: bool = False
    cpu_s: float = 0.0

    @property
    def attainment(self) -> float | None:
        found: float | None = self.figures["slo_attainment_rate"]
        return found


def play(trials: Sequence[Trial], *, jobs: int | None = None, fresh: bool = False, what: str = "") -> list[Ran]:
    """Run trials on all cores where it pays, with a bar that says `what`. `fresh`: as if nothing had been kept.

    A trial with a journal is played whatever is kept, as that has to be written.
    """
    for policy in {trial.policy for trial in trials} - {BOUND}:
        policy_named(*named(policy))
    tasks = [(key_of(trial), trial) for trial in trials]
    kept = Kept(None if fresh else kept_folder(), Ran, anew={key for key, trial in tasks if trial.journal})
    size = sum(trial.workload.requests or SMALL for trial in trials)
    processes = jobs or (usable_cores() if size > SMALL else 1)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not (what and console.is_terminal)) as bar:
        task = bar.add_task(what, total=len(tasks))

        def watch(trial: Trial) -> None:
            bar.update(task, advance=1, description=f"{what} {trial.policy}, seed {trial.seed}")

        return sweep(tasks, run, kept, processes=processes, watch=watch)


def run(trial: Trial) -> Ran:
    """The figures of one trial."""
    began = time.process_time()
    ran = _bounded(trial) if trial.policy == BOUND else _planned(trial)
    return replace(ran, cpu_s=round(time.process_time() - began, 3))


def story_of(trial: Trial) -> Story:
    """The whole course of a trial."""
    return tell(_entries(trial)[0])


def key_of(trial: Trial) -> str:
    """What the trial is kept under."""
    world = trial.world
    models = tuple(replace(entry, profile="") for entry in trial.workload.models)
    name, options = named(trial.policy)
    module = "sfumato.sim.bound" if name == BOUND else POLICIES.get(name, name).partition(":")[0]
    code = fingerprint(*(f"sfumato.{each}" for each in READ), module)
    plain = replace(trial.workload, models=models, seed=0, seeds=1)
    parts = [plain, _recorded(plain), world.profiles, world.models, name, options, trial.seed, trial.missable, code]
    return sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _recorded(workload: Workload) -> str:
    """What a trace says: its path alone does not tell that it was written anew."""
    process = workload.arrivals
    if not isinstance(process, Trace):
        return ""
    try:
        return sha256(Path(process.file).read_bytes()).hexdigest()
    except OSError:
        return ""  # whoever reads the arrivals says what is wrong


def kept_folder() -> Path:
    """Where results are kept: beside the measured profiles."""
    return profile_folder().parent / "runs"


@lru_cache(maxsize=256)
def _world(workload: bytes, sources: tuple[str, ...], factor: float) -> World:
    """Profiles are read once a process and workload; what cannot be hashed comes encoded."""
    return world_of(msgspec.json.decode(workload, type=Workload), sources, factor)


def _planned(trial: Trial) -> Ran:
    entries, gave_up = _entries(trial)
    story = tell(entries)
    served = tuple((life.request.slo, life.latency_s, life.met(story.end)) for life in story.lives.values())
    if trial.journal:
        _keep(entries, Path(trial.journal))
    return Ran(figures=measure(story).results(), served=served, gave_up=gave_up)


def _entries(trial: Trial) -> tuple[list[Entry], bool]:
    """The journal, and whether the run was given up."""
    entries: list[Entry] = []
    world, asked = trial.world, trial.requests()
    name, options = named(trial.policy)
    simulation = simulated(
        world.setup(name, {**options, "explain": True} if trial.explain and explains(name) else options),
        world.ranks,
        asked,
        noise=lognormal(trial.seed, trial.workload.noise),
        pace=world.pace(trial.workload, trial.seed),
        troubles=trial.workload.pool.troubles,
        write=entries.append,
        resident=world.resident,
        truth=world.truth,
    )
    limit = None if trial.missable is None else Limit(simulation, asked, trial.missable)
    simulation.run(limit)
    return entries, limit is not None and limit.passed


class Limit:
    """Ends a run once more of all deadlines are missed than may be; `passed` says that it did."""

    def __init__(self, simulation: Simulation, asked: Sequence[Request], missable: float) -> None:
        self.passed = False
        self._simulation = simulation
        self._deadlines = sorted(request.deadline for request in asked if request.deadline is not None)
        self._most = missable * len(self._deadlines)
        self._seen = self._met = 0

    def __call__(self, now: float) -> bool:
        outcomes = self._simulation.outcomes
        self._met += sum(outcome.met and outcome.deadline is not None for outcome in outcomes[self._seen :])
        self._seen = len(outcomes)
        self.passed = bisect_right(self._deadlines, now) - self._met > self._most
        return self.passed


def _bounded(trial: Trial) -> Ran:
    from sfumato.sim.bound import bound  # scipy takes half a second to import

    world = trial.world
    found = bound(trial.requests(), world.ranks, world.models, world.truth)
    return Ran(figures={"slo_attainment_rate": found.attainment, "slo_judged": found.judged, "slo_met": found.served})


def _keep(entries: Sequence[Entry], folder: Path) -> None:
    kept = JournalFolder(folder)
    for entry in entries:
        kept(entry)
    kept.close()
