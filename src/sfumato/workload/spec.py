"""What a workload file may say. It is TOML; unknown keys are errors that name what was probably meant.

    seed = 0                     # of the first run; run n is drawn with seed + n
    seeds = 10                   # runs, if nobody says how many
    horizon_s = 600              # length of a run; or: requests = 300 (both: whichever comes first)
    noise = 0.005                # relative standard deviation of a simulated chunk, each on its own
    drift = 0.0                  # the same of a node's speed, which wanders: what is slow stays so for a while ...
    drift_s = 10.0               # ... and forgotten after a few times so many seconds
    batches = true               # false: every chunk is of one request, whatever the profiles say
    believed = 1.0               # the planner takes units to be so many times as long as they are
    rate_factor = 1.0            # multiplies every arrival rate
    slo_factor = 1.0             # multiplies every SLO

    # Points: the file is a sweep, and each point a workload of its own. It multiplies the factors above, overrides the
    # `shares` it names, and is called after its axes if it has no name. Without points the file is one workload.
    points = [
      { rate_factor = 0.5 },
      { slo_factor = 1.2 },
      { name = "mostly large", shares = { large = 0.8, small = 0.2 } },
    ]

    [pool]                       # simulated ranks; a live server has its own
    ranks = 8
    device = "h100"
    nodes = 1                    # the ranks are dealt out evenly, in order
    memory_gib = 80              # left out: never short of memory
    holds = ["diffuse"]          # stages whose weights are there at the start; left out: all that there are
    # [[pool.also]]              # ranks of another kind, numbered on: ranks, device, nodes, memory_gib, holds
    # [[pool.troubles]]          # what befalls a rank; those of one rank follow each other
    # rank = 3
    # at_s = 60.0                # seconds after the start ...
    # until_s = 120.0            # ... to here; left out: for good
    # dead = true                # it is lost with what it runs, and returns with what it held at the start. Or:
    # slowdown = 3.0             # the units of chunks that begin meanwhile take three times as long

    [costs]                      # times that no profile has (core.cost.Overheads, with the defaults)
    launch_s = 0.001             # from a chunk's end to the next one's first step; left out: the profile's
    switch_s = 0.002             # more, for each job that comes from another group (another degree, other ranks)
    move_s = 0.001               # more, where ranks of the group lack the latent ...
    move_bytes_s = 1e9           # ... which comes at so many bytes a second
    load_s = 0.05                # a weight part: its beginning ...
    load_bytes_s = 5e8           # ... and bytes a second
    link_slowdown = 1.0          # across nodes, what a step loses to communication is so many times as much

    [[models]]
    name = "sd35"
    profile = "profiles/sd35.json"   # relative to this file; a list of files where there are several kinds of device
    distilled = false            # true: guidance is an input, one pass a step

    [[classes]]                  # one kind of request; `share` is its weight among the classes
    name = "small"
    model = "sd35"               # may be left out where there is one model
    size = "512x512"             # width x height
    frames = 1
    steps = 28
    guidance = 4.0
    quality = "exact"            # below that steps are reused: what that leaves of their time is in the profile
    share = 0.5
    slo = 5.0                    # seconds; or: slo_scale = 3.0 (x the standalone time); neither: best effort
    slo_at = "best"              # standalone at the best degree; "one": on one rank
    slo_plus = 0.0               # seconds that slo_scale adds
    priority = 0
    degradable = false
    prompts = []                 # drawn from in turn by the live load; empty: sentences about coloured shapes

    [arrivals]                   # a rate is `per_second` or `per_minute`
    process = "poisson"          # per_minute = 12
    # process = "gamma"          # per_minute = 12, cv = 2.0 (0: evenly spaced, 1: Poisson, above: clumped)
    # process = "bursts"         # every_s = 60, size = 20, within_s = 2, and a Poisson rate between them
    # process = "piecewise"      # per_minute = [[0, 6], [120, 24], [240, 6]], repeat_s = 360;
    #                            # shares = [{...}, {...}, {...}]: the classes' shares during each piece
    # process = "trace"          # file = "trace.jsonl" (see workload.trace); the classes may then be left out

This file decides the names and the types; `workload.load` reads and checks, `workload.points` makes the points. The
live load plays a file as it stands, without its points.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from sfumato.core.cost import NotNegative, Overheads, Positive
from sfumato.core.values import EXACT, Shape, Value
from sfumato.workload.pool import Count, Name, PoolSpec

Size = Annotated[str, Meta(pattern=r"^[1-9]\d*x[1-9]\d*$")]
Shares = dict[str, NotNegative]
Pieces = Annotated[tuple[tuple[NotNegative, NotNegative], ...], Meta(min_length=1)]


class ModelEntry(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[models]]`: a served model and the profile that its times come from, or one a kind of device."""

    name: Name
    profile: str | tuple[str, ...] = ""
    distilled: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        if isinstance(self.profile, str):
            return (self.profile,) if self.profile else ()
        return self.profile


class RequestClass(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[classes]]`: one kind of request."""

    name: Name
    size: Size
    steps: Count
    model: str = ""
    frames: Count = 1
    guidance: NotNegative = 1.0
    quality: Name = EXACT
    share: NotNegative = 1.0
    slo: Positive | None = None
    slo_scale: Positive | None = None
    slo_at: Literal["best", "one"] = "best"
    slo_plus: NotNegative = 0.0
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
    """Poisson arrivals whose rate changes: pairs of (from second, rate), over again every `repeat_s`.

    `shares` may change with it: the classes' shares during each piece, in their order.
    """

    per_second: Pieces | None = None
    per_minute: Pieces | None = None
    repeat_s: Positive | None = None
    shares: tuple[Shares, ...] = ()

    @property
    def pieces(self) -> tuple[tuple[float, float], ...]:
        """(from second, rate a second)."""
        return self.per_second or tuple((start, rate / 60.0) for start, rate in self.per_minute or ())

    def shares_at(self, at: float) -> Shares:
        """The shares in force at a time; empty where they do not change."""
        if not self.shares:
            return {}
        at = at % self.repeat_s if self.repeat_s else at
        return next(s for (start, _), s in zip(self.pieces[::-1], self.shares[::-1], strict=True) if start <= at)


class Trace(Value, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="process", tag="trace"):
    """The arrivals of a file; the path is relative to the workload file."""

    file: Name


Process = Poisson | Gamma | Bursts | Piecewise | Trace


class Point(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of `points`."""

    name: str = ""
    rate_factor: Positive = 1.0
    slo_factor: Positive = 1.0
    shares: Shares = {}


class Workload(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole workload file."""

    arrivals: Process
    classes: tuple[RequestClass, ...] = ()
    models: tuple[ModelEntry, ...] = ()
    pool: PoolSpec = PoolSpec()
    costs: Overheads = Overheads()
    points: tuple[Point, ...] = ()
    seed: Annotated[int, Meta(ge=0)] = 0
    seeds: Count = 5
    horizon_s: Positive | None = None
    requests: Count | None = None
    noise: NotNegative = 0.0
    drift: NotNegative = 0.0
    drift_s: Positive = 10.0
    batches: bool = True
    believed: Positive = 1.0
    rate_factor: Positive = 1.0
    slo_factor: Positive = 1.0

    def model(self, name: str) -> ModelEntry:
        """The entry of a model; one that is only named by a class has nothing but its name."""
        return next((entry for entry in self.models if entry.name == name), ModelEntry(name=name))
