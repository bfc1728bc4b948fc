"""`sfumato` where memory is short: it places by memory, and loads and drops weights by what waits for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from sfumato.assemble import policy_named
from sfumato.core.commands import Drop, Launch, Load, Reply
from sfumato.core.cost import Costs, Work
from sfumato.core.events import AnyEvent, Arrived, ChunkDone, Loaded, LoadFailed, Progress, Woke, WorkerLost, WorkerUp
from sfumato.core.journal import Entry, Journal, Record
from sfumato.core.serving import Serving
from sfumato.core.values import JobState, ModelSpec, Outcome, RankInfo, Request, Stage
from sfumato.cost import Profile, ProfileCosts
from sfumato.cost.profile import Held, Peak, Point
from sfumato.sim import Simulation
from tests.costs import LARGE, MODELS, PlainCosts
from tests.policies.small import image, video
from tests.worlds import serving as serving_of

IMAGE, VIDEO = ("text", "dit", "vae"), ("text", "dit-v", "vae-v")


class World:
    """A strict simulation: any illegal plan raises, so a plan that memory does not hold fails the test."""

    def __init__(
        self,
        ranks: Sequence[tuple[int, tuple[str, ...]]],
        requests: Sequence[Request],
        costs: Costs,
        events: Sequence[AnyEvent] = (),
        models: Mapping[str, ModelSpec] = MODELS,
        **options: Any,
    ) -> None:
        self.entries: list[Entry] = []
        serving = Serving(
            models=models,
            costs=costs,
            policy=policy_named("sfumato", options),
            fallback=policy_named("fixed"),
            journal=Journal(self.entries.append),
            strict=True,
        )
        script: list[AnyEvent] = [
            WorkerUp(at=0.0, info=RankInfo(rank=rank, memory_bytes=memory), parts=parts)
            for rank, (memory, parts) in enumerate(ranks)
        ]
        script += [*(Arrived(at=request.arrived_at, request=request) for request in requests), *events]
        self.outcomes = {outcome.request: outcome for outcome in Simulation(serving, costs, script).run()}

    def commands(self, kind: type[Any]) -> list[Any]:
        records = [entry for entry in self.entries if isinstance(entry, Record)]
        return [command for record in records for command in record.commands if isinstance(command, kind)]


class Hungry(PlainCosts):
    """A step needs 4000 bytes, shared by the ranks of its group."""

    def peak_bytes(self, work: Work) -> int:
        return 4000 * len(work.shapes) // work.degree if work.stage is Stage.DIFFUSE else 100


def test_a_step_that_fits_no_single_rank_runs_on_several() -> None:
    weights = 100 + 1000 + 50
    world = World([(weights + 2500, IMAGE)] * 4, [image("a", 60.0), image("b", None)], Hungry())
    steps = [launch.chunk for launch in world.commands(Launch) if launch.chunk.stage is Stage.DIFFUSE]
    assert all(outcome.met for outcome in world.outcomes.values())
    assert {len(chunk.group) for chunk in steps} <= {2, 4}


def test_work_that_has_begun_always_finds_the_memory_to_go_on() -> None:
    """Held state is 10 bytes; beside the weights there is room for one chunk and the state of two jobs on each rank."""
    tight = (100 + 1000 + 50) + 100 + 25
    requests = [image(f"r{n}", 2.0 + n % 3, at=n / 8) for n in range(12)]
    world = World([(tight, IMAGE)] * 2, requests, PlainCosts())
    assert len(world.outcomes) == 12


class Slow(Hungry):
    """As that on one rank, and a second a unit."""

    def unit_s(self, work: Work) -> float:
        return 1.0


def test_a_request_is_not_weighed_by_another_that_decodes_while_ranks_are_new_to_the_planner() -> None:
    """Beside the weights and a step there is room for the state of one job; a decode alone would let in many."""
    tight = (100 + 1000 + 50) + 4000 + 15
    requests = [image("a", 60.0, steps=2), *(image(f"b{n}", 60.0, at=3.75, steps=2) for n in range(4))]
    lost = [WorkerLost(at=3.5, rank=1)]
    world = World([(tight, IMAGE), (tight, IMAGE)], requests, Slow(), lost)
    assert {outcome.state for outcome in world.outcomes.values()} == {JobState.DONE}
    assert len(world.outcomes) == 5


@pytest.mark.parametrize("room", [1, 2, 3])
def test_texts_are_encoded_together_only_of_as_many_as_can_all_go_on(room: int) -> None:
    """Beside the weights and a step there is room for the state of so many jobs; their texts alone would all fit."""
    spec = MODELS["image"]
    texts = {"image": replace(spec, encode=replace(spec.encode, max_batch=8, packs=True))}
    tight = (100 + 1000 + 50) + 4000 + 10 * room + 5

    class Together(Hungry):
        def unit_s(self, work: Work) -> float:
            return 0.5 if work.stage is Stage.ENCODE else super().unit_s(work)

    requests = [image(f"r{n}", 60.0, steps=2) for n in range(8)]
    world = World([(tight, IMAGE)], requests, Together(), models=texts)
    assert {outcome.state for outcome in world.outcomes.values()} == {JobState.DONE}
    assert len(world.outcomes) == 8
    encodes = [launch.chunk for launch in world.commands(Launch) if launch.chunk.stage is Stage.ENCODE]
    assert max(len(chunk.jobs) for chunk in encodes) == room


def test_a_rank_that_has_room_loads_what_is_asked_for() -> None:
    world = World([(9000, IMAGE), (9000, IMAGE)], [video("v", 60.0)], PlainCosts())
    assert world.outcomes["v"].met
    assert {load.part for load in world.commands(Load)} == {"dit-v", "vae-v"}
    assert not world.commands(Drop)


def test_where_two_models_do_not_fit_the_one_that_waits_takes_the_place_of_the_idle_one() -> None:
    room = 100 + 2000 + 80 + 400
    world = World([(room, IMAGE)], [image("i", 30.0), video("v", 60.0, at=8.0)], PlainCosts())
    assert world.outcomes["i"].met
    assert world.outcomes["v"].met
    assert {drop.part for drop in world.commands(Drop)} >= {"dit"}


class Uneven(PlainCosts):
    """A step of the image model needs 600 bytes."""

    def peak_bytes(self, work: Work) -> int:
        return 600 if work.model == "image" and work.stage is Stage.DIFFUSE else 100


def test_weights_that_would_leave_no_room_for_a_chunk_of_what_is_there_take_its_place_or_wait() -> None:
    """Both models' weights fit, and the video's chunks beside them, but not the image's steps."""
    room = (100 + 1000 + 50 + 2000 + 80) + 150
    requests = [image(f"i{n}", 60.0, at=2.0 * n, steps=2) for n in range(8)]
    requests += [video(f"v{n}", 90.0, at=3.0 * n + 0.5, steps=2) for n in range(4)]
    world = World([(room, IMAGE)], requests, Uneven())
    assert {outcome.state for outcome in world.outcomes.values()} == {JobState.DONE}


def test_a_request_that_fits_only_in_the_place_of_anothers_weights_is_not_refused() -> None:
    """Beside the video model's weights there are 200 bytes left; an image's step takes 600 and the place of them."""
    room = 100 + 2000 + 80 + 200
    world = World([(room, VIDEO)], [video("v", 60.0, steps=2), image("i", 60.0, at=1.0, steps=2)], Uneven())
    assert {outcome.state for outcome in world.outcomes.values()} == {JobState.DONE}


def test_two_models_share_a_pool_that_holds_one_of_them_on_each_rank() -> None:
    """Each rank settles on a model: few loads, though both are asked for all the time."""
    room = 100 + 2000 + 80 + 400
    requests = [image(f"i{n}", 20.0, at=3.0 * n) for n in range(12)]
    requests += [video(f"v{n}", 60.0, at=10.0 * n + 1) for n in range(4)]
    world = World([(room, IMAGE), (room, IMAGE)], requests, PlainCosts())
    assert len(world.outcomes) == 16
    assert sum(outcome.met for outcome in world.outcomes.values()) >= 15
    assert len(world.commands(Load)) <= 12


def test_a_model_that_nobody_could_run_is_not_forgotten_for_the_one_that_is_always_asked_for() -> None:
    room = 100 + 2000 + 80 + 400
    requests = [image(f"i{n}", 8.0, at=4.0 * n) for n in range(40)]
    world = World([(room, IMAGE)], [*requests, video("v", 1000.0, at=3.0)], PlainCosts())
    assert len(world.outcomes) == 41
    assert world.outcomes["v"].at < 120.0


def weighed(stage: Stage) -> dict[str, Any]:
    return {"stage": stage, "height": LARGE.height, "width": LARGE.width}


def test_what_a_fast_request_keeps_is_planned_for_where_there_is_room_for_it() -> None:
    """Rank 0 has room for a chunk and an exact state beside its weights, rank 1 also for what a fast one keeps."""
    kept = {"exact": 10, "fast": 25}
    profile = Profile(
        model="image",
        device="cpu",
        kind="measured",
        source="test",
        points=tuple(Point(seconds=0.1, **weighed(stage)) for stage in Stage),
        peaks=tuple(Peak(bytes=100, **weighed(stage)) for stage in Stage),
        held=(
            *(Held(bytes=many, quality=quality, **weighed(Stage.DIFFUSE)) for quality, many in kept.items()),
            Held(bytes=10, **weighed(Stage.DECODE)),
        ),
    )
    weights = 100 + 1000 + 50
    ranks = [(weights + 100 + many, IMAGE) for many in kept.values()]
    for quality, first in (("exact", (0,)), ("fast", (1,))):
        world = World(ranks, [replace(image("a", None), quality=quality)], ProfileCosts([profile], MODELS))
        assert world.commands(Launch)[0].chunk.group == first
        assert world.outcomes["a"].met


def test_weights_that_a_rank_failed_to_load_are_also_tried_elsewhere_and_only_while_somebody_waits() -> None:
    """Rank 0 is empty, rank 1 would have to drop another model's weights for a request of one step."""
    room = 100 + 2000 + 80 + 400
    entries: list[Entry] = []
    serving = serving_of("sfumato", entries, segment=3)
    serving.handle([WorkerUp(at=0.0, info=RankInfo(rank=0, memory_bytes=room))])
    serving.handle([WorkerUp(at=0.0, info=RankInfo(rank=1, memory_bytes=room), parts=VIDEO)])
    serving.handle([Arrived(at=1.0, request=image("a", None, at=1.0, steps=1))])
    encoded = Progress(job="a", units=1, saved=1)
    serving.handle([ChunkDone(at=1.5, seq=1, progress=(encoded,), seconds=0.5)])
    tried: list[set[int]] = []
    ended: list[Outcome] = []
    for n in range(6):
        loading = [(rank, part) for rank in (0, 1) for part in serving.view().loading(rank)]
        tried.append({rank for rank, part in loading if part == "dit"})
        told: list[AnyEvent] = [Woke(at=2.0 + n)]
        for rank, part in loading:
            failed = LoadFailed(at=2.0 + n, rank=rank, part=part, reason="no such file")
            told.append(failed if part == "dit" else Loaded(at=2.0 + n, rank=rank, part=part, seconds=1.0))
        ended += [command.outcome for command in serving.handle(told) if isinstance(command, Reply)]
    assert tried == [{0}, {0, 1}, {0, 1}, {0, 1}, set(), set()]
    assert [outcome.state for outcome in ended] == [JobState.FAILED]

    again = serving_of("sfumato", [])
    for entry in entries:
        if isinstance(entry, Record):
            assert again.handle(entry.events) == entry.commands
        else:
            again = serving_of("sfumato", [])
            again.restore(entry)
