"""What a workload file may say. It is TOML; unknown keys are errors that name what was probably meant.

    seed = 0
    horizon_s = 600              # or: requests = 300 (both: whichever comes first)
    noise = 0.005                # relative standard deviation of a simulated step
    rate_factor = 1.0            # multiplies every arrival rate
    slo_factor = 1.0             # multiplies every SLO

    [pool]                       # simulated ranks; a live server has its own
    ranks = 8
    device = "h100"
    nodes = 1                    # the ranks are dealt out evenly, in order
    memory_gib = 80              # left out: never short of memory
    # [[pool.also]]              # ranks of another kind, numbered on: ranks, device, nodes, memory_gib

    [[models]]
    name = "sd35"
    profile = "profiles/sd35.json"   # relative to this file
    distilled = false            # true: guidance is an input, one pass a step

    [[classes]]                  # one kind of request; `share` is its weight among the classes
    name = "small"
    model = "sd35"               # may be left out where there is one model
    size = "512x512"             # width x height
    frames = 1
    steps = 28
    guidance = 4.0
    share = 0.5
    slo = 5.0                    # seconds; or: slo_scale = 3.0 (x the standalone time); neither: best effort
    priority = 0
    degradable = false
    prompts = []                 # drawn from in turn by the live load; empty: sentences about coloured shapes

    [arrivals]                   # a rate is `per_second` or `per_minute`
    process = "poisson"          # per_minute = 12
    # process = "gamma"          # per_minute = 12, cv = 2.0 (0: evenly spaced, 1: Poisson, above: clumped)
    # process = "bursts"         # every_s = 60, size = 20, within_s = 2, and a Poisson rate between them
    # process = "piecewise"      # per_minute = [[0, 6], [120, 24], [240, 6]], repeat_s = 360
    # process = "trace"          # file = "trace.jsonl" (see workload.trace); the classes may then be left out

This file decides the names and the types; `workload.load` reads and checks.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from sfumato.core.values import RankInfo, Shape, Value

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1)]
Size = Annotated[str, Meta(pattern=r"^[1-9]\d*x[1-9]\d*$")]
Pieces = Annotated[tuple[tuple[NotNegative, NotNegative], ...], Meta(min_length=1)]


class Ranks(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ranks of one kind."""

    ranks: Count = 1
    device: Name = "cpu"
    nodes: Count = 1
    memory_gib: Positive | None = None


class PoolSpec(Ranks, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[pool]`: the simulated ranks, and those of other kinds in `also`."""

    also: tuple[Ranks, ...] = ()

    def infos(self) -> tuple[RankInfo, ...]:
        """The ranks as the core knows them, numbered from 0."""
        found: list[RankInfo] = []
        nodes = 0
        for kind in (self, *self.also):
            memory = {} if kind.memory_gib is None else {"memory_bytes": int(kind.memory_gib * 2**30)}
            for place in range(kind.ranks):
                node = f"node{nodes + place * kind.nodes // kind.ranks}"
                found.append(RankInfo(rank=len(found), device=kind.device, node=node, **memory))
            nodes += kind.nodes
        return tuple(found)


class ModelEntry(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[models]]`: a served model and the profile that its times come from."""

    name: Name
    profile: str = ""
    distilled: bool = False


class RequestClass(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[classes]]`: one kind of request."""

    name: Name
    size: Size
    steps: Count
    model: str = ""
    frames: Count = 1
    guidance: NotNegative = 1.0
    share: NotNegative = 1.0
    slo: Positive | None = None
    slo_scale: Positive | None = None
    priority: int = 0
    degradable: bool = False
    prompts: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        width, height = self.size.split("x")
        return Shape(height=int(height), width=int(width), frames=self.frames)


class Poisson(Value, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="process", tag="poisson"):
    """Independent arrivals at a constant rate."""

    per_second: Positive | None = None
    per_minute: Positive | None = None


class Gamma(Value, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="process", tag="gamma"):
    """Independent gaps with the coefficient of variation `cv`."""

    per_second: Positive | None = None
    per_minute: Positive | None = None
    cv: NotNegative


class Bursts(Value, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="process", tag="bursts"):
    """`size` requests within `within_s` seconds, `every_s` seconds, beside Poisson arrivals if a rate is given."""

    every_s: Positive
    size: Count
    within_s: NotNegative = 0.0
    per_second: Positive | None = None
    per_minute: Positive | None = None


class Piecewise(Value, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="process", tag="piecewise"):
    """Poisson arrivals whose rate changes: pairs of (from second, rate), over again every `repeat_s`."""

    per_second: Pieces | None = None
    per_minute: Pieces | None = None
    repeat_s: Positive | None = None


class Trace(Value, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="process", tag="trace"):
    """The arrivals of a file; the path is relative to the workload file."""

    file: Name


Process = Poisson | Gamma | Bursts | Piecewise | Trace


class Workload(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole workload file."""

    arrivals: Process
    classes: tuple[RequestClass, ...] = ()
    models: tuple[ModelEntry, ...] = ()
    pool: PoolSpec = PoolSpec()
    seed: Annotated[int, Meta(ge=0)] = 0
    horizon_s: Positive | None = None
    requests: Count | None = None
    noise: NotNegative = 0.0
    rate_factor: Positive = 1.0
    slo_factor: Positive = 1.0

    def model(self, name: str) -> ModelEntry:
        """The entry of a model; one that is only named by a class has nothing but its name."""
        return next((entry for entry in self.models if entry.name == name), ModelEntry(name=name))
