"""`ProfileCosts`: the planner's one source of times and bytes (`core.cost.Costs`), from profiles and what was observed.

Rules: a model's profile for the asked device wins; then its profile for another device, scaled by the guessed speeds;
then the rule for models without any. Whatever was priced once is remembered, so a second question costs two look-ups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from sfumato.core.cost import Overheads, Work
from sfumato.core.values import EXACT, Group, Job, ModelSpec, PartId, Rank, Shape, Stage
from sfumato.cost import estimates
from sfumato.cost.correction import BOUND, SPREAD, Correction
from sfumato.cost.latency import Latency, fit
from sfumato.cost.profile import Peak, Profile
from sfumato.cost.savings import Left, Savings, left_of
from sfumato.cost.starts import Starts
from sfumato.cost.table import Price, Table
from sfumato.errors import ProfileError

CONTROL_GAP_S = 0.001
GUESS_BOUND = 100.0  # what nobody measured may be far off, so the correction may go far
REMEMBERED = 100_000  # batches of unlike shapes could otherwise fill the memory

# Seconds before correction, whether they are an estimate, the cell of the correction, its bound, what reuse leaves.
Entry = tuple[float, bool, list[float], float, Left]


class ProfileCosts:
    """Times and bytes of `models`, from `profiles`; `correct=False` ignores what is observed."""

    def __init__(
        self,
        profiles: Iterable[Profile] = (),
        models: Mapping[str, ModelSpec] | None = None,
        *,
        correct: bool = True,
        overheads: Overheads | None = None,
    ) -> None:
        self._overheads = overheads or Overheads()
        self._profiles: dict[tuple[str, str], Profile] = {}
        for profile in profiles:  # of two for the same model and device the last one wins
            self._profiles[profile.model, profile.device] = estimates.with_stages(profile)
        self._tables = {key: Table(profile) for key, profile in self._profiles.items()}
        self._models = dict(models or {})
        self._correct = correct
        self._correction = Correction()
        self._starts = Starts()
        self._savings = Savings({key: profile.reuse for key, profile in self._profiles.items()})
        self._entries: dict[Work, Entry] = {}
        self._latencies: dict[tuple[str, str, int, bool], Latency | None] = {}
        self._held: dict[tuple[str, Stage, Shape], int] = {}
        self._reusing: dict[tuple[str, Shape, str, bool], int] = {}
        self._peaks: dict[Work, int] = {}
        stated = self._overheads.launch_s
        self._gaps = {
            key: profile.launch_gap_s if stated is None else stated for key, profile in self._profiles.items()
        }
        self._gap_s = CONTROL_GAP_S if stated is None else stated
        self._load_s = {
            (part, device): seconds
            for (_, device), profile in self._profiles.items()
            for part, seconds in profile.load_s.items()
        }

    def unit_s(self, work: Work) -> float:
        """Seconds of one unit. Raises ProfileError if the model is unknown."""
        entry = self._entries.get(work) or self._enter(work)
        return entry[0] * entry[2][0] * left_of(entry[4]) if entry[4] else entry[0] * entry[2][0]

    def batch_s(self, work: Work) -> float:
        """`unit_s` by the fitted predictor (`latency`), for batches where the profile has enough of them to fit it."""
        predictor = self.latency(work) if len(work.shapes) > 1 else None
        if predictor is None:
            return self.unit_s(work)
        entry = self._entries.get(work) or self._enter(work)
        return entry[2][0] * predictor(work.shapes) * left_of(entry[4])

    def latency(self, work: Work) -> Latency | None:
        """The predictor for work like this, if it is steps and its profile has batches to fit it to."""
        if work.stage is not Stage.DIFFUSE or work.cfg != 1:
            return None
        key = (work.model, work.device, work.degree, work.guided)
        if key not in self._latencies:
            profile = self._profiles.get(key[:2])
            self._latencies[key] = fit(
                [p for p in (profile.points if profile else ()) if (p.degree, p.guided, p.cfg) == (*key[2:], 1)]
            )
        return self._latencies[key]

    def estimated(self, work: Work) -> bool:
        """Whether `unit_s` is not a measurement of just this (times the correction)."""
        return (self._entries.get(work) or self._enter(work))[1]

    def start_s(self, work: Work, group: Group, sources: Sequence[Group | None]) -> float:
        """The control gap, the switch to another group, and the moves of latents to ranks that do not hold them."""
        seconds = max(0.0, self._gap_of(work) + self._starts.late_s)
        for shape, source in zip(work.shapes, sources, strict=True):
            if source is not None and source != group:
                seconds += self._overheads.switch_s
                if not set(group) <= set(source):
                    state = self._state_bytes(work.model, Stage.DIFFUSE, shape)
                    seconds += self._overheads.move_s + state / self._overheads.move_bytes_s
        return seconds

    def _gap_of(self, work: Work) -> float:
        """The control gap before anything was learnt."""
        return self._gaps.get((work.model, work.device), self._gap_s)

    def load_s(self, part: PartId, part_bytes: int, device: str) -> float:
        """As measured on this kind of device, else by bytes."""
        measured = self._load_s.get((part, device))
        if measured is not None:
            return measured
        return self._overheads.load_s + part_bytes / self._overheads.load_bytes_s

    def held_bytes(self, job: Job, model: ModelSpec) -> int:
        """As measured for the nearest larger shape, on whatever device, else by the rule.

        Below exact, until decode, as measured for that quality, else the same and what steps keep by the rule.
        """
        request = job.request
        if request.quality == EXACT or job.stage is Stage.DECODE:
            return self._state_bytes(model.name, job.stage, job.shape)
        key = (model.name, job.shape, request.quality, request.guided)
        known = self._reusing.get(key)
        if known is None:
            rule = self._state_bytes(model.name, job.stage, job.shape) + estimates.reuse_bytes(
                job.shape, guided=request.guided
            )
            known = self._reusing[key] = self._measured_state(model.name, job.stage, job.shape, request.quality, rule)
        return known

    def peak_bytes(self, work: Work) -> int:
        """As measured for the nearest larger setting, else by the rule."""
        known = self._peaks.get(work)
        if known is None:
            known = self._peaks[work] = self._peak(work)
        return known

    def observe(self, work: Work, rank: Rank, units: int, seconds: float, start_s: float | None = None) -> None:
        """Fold a measured chunk into the correction; of one that reused steps, into what reuse is expected to leave."""
        if not self._correct or units <= 0 or seconds <= 0.0:
            return
        if start_s is not None:
            self._starts.observe(max(0.0, start_s) - self._gap_of(work))
        entry = self._entries.get(work) or self._enter(work)
        key = (work.model, str(work.stage), work.device)
        ratio = seconds / (units * entry[0])
        if work.qualities:
            self._savings.observe(work, units, ratio / entry[2][0])
            return
        self._correction.observe(key, rank if work.degree == 1 else SPREAD, ratio, entry[3])

    def slowdown(self, rank: Rank) -> float:
        """How many times slower a rank is than the others at the same work (1: as fast, or nothing compares)."""
        return self._correction.slowdown(rank)

    def state(self) -> Any:
        """What was learnt as plain JSON values."""
        return {
            "factors": self._correction.state(),
            "savings": self._savings.state(),
            "starts": self._starts.state(),
        }

    def restore(self, state: Any) -> None:
        """Take up what `state` described; None is the state of having seen nothing."""
        state = state or {}
        self._correction.restore(state.get("factors"))
        self._savings.restore(state.get("savings"))
        self._starts.restore(state.get("starts"))

    # -- the first question about a work ---------------------------------------------------------------------------

    def _enter(self, work: Work) -> Entry:
        if len(self._entries) >= REMEMBERED:
            self._entries.clear()
        price, bound = self._price(replace(work, nodes=1, qualities=()) if work.nodes > 1 or work.qualities else work)
        if work.nodes > 1 and self._overheads.link_slowdown > 1.0:
            price = Price(price.seconds + self._on_the_link_s(work, price.seconds), True)
        cell = self._correction.cell((work.model, str(work.stage), work.device))
        entry = self._entries[work] = (price.seconds, price.estimated, cell, bound, self._savings.left(work))
        return entry

    def _on_the_link_s(self, work: Work, seconds: float) -> float:
        """What a group across nodes loses more to communication than one within a node."""
        alone, _ = self._price(replace(work, nodes=1, degree=1, cfg=1, qualities=()))
        return (self._overheads.link_slowdown - 1.0) * max(0.0, seconds - alone.seconds / work.degree)

    def _price(self, work: Work) -> tuple[Price, float]:
        spec = self._models.get(work.model)
        device = self._device(work)
        if device is not None and self._tables[work.model, device].covers(work.stage):
            table = self._tables[work.model, device]
            seconds, estimated = table.price(work)
            if work.stage is Stage.DECODE and spec is not None and spec.frame_stride and not table.stride:
                seconds, estimated = seconds / spec.units(work.stage, work.shapes[0], 1), True
            if device == work.device:
                return Price(seconds, estimated), GUESS_BOUND if table.guessed(work.stage) else BOUND
            scale = estimates.speed(device) / estimates.speed(work.device)
            return Price(seconds * scale, True), GUESS_BOUND
        if spec is None:
            known = ", ".join(sorted({model for model, _ in self._profiles})) or "none"
            fix = f"profiles are there for: {known}; measure it with `sfumato profile` or name its profile file"
            raise ProfileError(f"model: {work.model} has no profile; {fix}", field="model")
        return Price(estimates.unit_s(work, spec), True), GUESS_BOUND

    def _device(self, work: Work) -> str | None:
        """The device whose profile of the model serves: the same, else the first by name."""
        if (work.model, work.device) in self._tables:
            return work.device
        return min((device for model, device in self._tables if model == work.model), default=None)

    # -- bytes ----------------------------------------------------------------------------------------------------

    def _state_bytes(self, model: str, stage: Stage, shape: Shape) -> int:
        known = self._held.get((model, stage, shape))
        if known is None:
            rule = estimates.held_bytes(shape)
            known = self._held[model, stage, shape] = self._measured_state(model, stage, shape, EXACT, rule)
        return known

    def _measured_state(self, model: str, stage: Stage, shape: Shape, quality: str, rule: int) -> int:
        stage = Stage.DECODE if stage is Stage.DECODE else Stage.DIFFUSE  # encode makes what the steps keep
        covering = [
            held.bytes
            for (name, _), profile in self._profiles.items()
            if name == model
            for held in profile.held
            if held.stage is stage and held.quality == quality and _pixels(held.shape) >= _pixels(shape)
        ]
        return min(covering, default=rule)

    def _peak(self, work: Work) -> int:
        profile = self._profiles.get((work.model, work.device))
        covering = [peak.bytes for peak in (profile.peaks if profile else ()) if _covers(peak, work)]
        return min(covering, default=estimates.peak_bytes(work))


def _covers(peak: Peak, work: Work) -> bool:
    """Whether a chunk takes no more than what was measured.

    Text is the same at any size, and guidance ends with the steps. Passes on two halves of a group take what they take
    together: half the tokens of a rank, and twice its heads.
    """
    if peak.stage is not work.stage or peak.degree > work.degree or peak.batch < len(work.shapes):
        return False
    if work.guided and not peak.guided and work.stage is not Stage.DECODE:
        return False
    return work.stage is Stage.ENCODE or _pixels(peak.shape) >= max(map(_pixels, work.shapes))


def _pixels(shape: Shape) -> int:
    return shape.height * shape.width * shape.frames
