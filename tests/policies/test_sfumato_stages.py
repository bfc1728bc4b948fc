"""Stages by themselves under `sfumato`: text of unlike requests is encoded together, free ranks share a decode."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from msgspec.structs import replace

from sfumato.assemble import policy_named
from sfumato.core.commands import Launch
from sfumato.core.cost import Work
from sfumato.core.events import AnyEvent, Arrived, WorkerUp
from sfumato.core.journal import Entry, Journal, Record
from sfumato.core.serving import Serving
from sfumato.core.values import Chunk, RankInfo, Request, Stage
from sfumato.policies.sfumato.order import joining
from sfumato.sim import Simulation
from tests.costs import LARGE, MODELS, PARTS, SMALL, PlainCosts
from tests.policies.small import SharedCosts, image, run


class TextTogether(PlainCosts):
    """Text takes 1/8 s, however many there are."""

    def unit_s(self, work: Work) -> float:
        return 0.125 if work.stage is Stage.ENCODE else super().unit_s(work)


def chunks(stage: Stage, ranks: int, costs: PlainCosts, *requests: Request) -> list[Chunk]:
    """All chunks of a stage; text of any sizes is encoded by up to 8."""
    spec = MODELS["image"]
    models = {**MODELS, "image": replace(spec, encode=replace(spec.encode, max_batch=8, packs=True))}
    entries: list[Entry] = []
    serving = Serving(
        models=models,
        costs=costs,
        policy=policy_named("sfumato"),
        fallback=policy_named("fixed"),
        journal=Journal(entries.append),
        strict=True,
    )
    script: list[AnyEvent] = [WorkerUp(at=0.0, info=RankInfo(rank=rank), parts=PARTS) for rank in range(ranks)]
    script += [Arrived(at=request.arrived_at, request=request) for request in requests]
    assert all(outcome.met for outcome in Simulation(serving, costs, script).run())
    commands = [command for entry in entries if isinstance(entry, Record) for command in entry.commands]
    return [c.chunk for c in commands if isinstance(c, Launch) and c.chunk.stage is stage]


def test_requests_of_unlike_sizes_are_encoded_together() -> None:
    asked = [image(name, 60.0, shape=shape) for name, shape in (("a", SMALL), ("b", LARGE), ("c", SMALL))]
    (encode,) = chunks(Stage.ENCODE, 1, TextTogether(), *asked)
    assert sorted(encode.jobs) == ["a", "b", "c"]


def test_a_decode_is_shared_by_ranks_that_nobody_else_wants_and_by_no_others() -> None:
    assert {len(chunk.group) for chunk in chunks(Stage.DECODE, 2, PlainCosts(), image("a", 60.0))} == {2}
    busy = [image(name, 2.6 + 0.01 * place) for place, name in enumerate("ab")]
    assert 1 in {len(chunk.group) for chunk in chunks(Stage.DECODE, 2, PlainCosts(), *busy)}


def test_a_decode_that_more_ranks_do_not_speed_up_stays_on_one() -> None:
    class Whole(PlainCosts):
        def unit_s(self, work: Work) -> float:
            return super().unit_s(replace(work, degree=1) if work.stage is Stage.DECODE else work)

    assert {len(chunk.group) for chunk in chunks(Stage.DECODE, 2, Whole(), image("a", 60.0))} == {1}


def test_whoever_can_be_in_time_is_asked_to_share_before_late_requests() -> None:
    outlooks: Any = SimpleNamespace(work=np.array([3.0, 1.0, 2.0, 0.5]), hopeless=np.array([False, True, False, True]))
    assert joining(outlooks, np.arange(4)) == [2, 0, 3, 1]


def test_who_has_less_left_is_asked_first_to_share() -> None:
    """All can be in time whoever shares: the shortest has a place before more urgent ones."""
    long = [image(name, 40.0 + place, steps=30) for place, name in enumerate("abcd")]
    found = run("sfumato", 1, *long, image("short", 60.0, steps=4), costs=SharedCosts())
    assert found.met == {"a", "b", "c", "d", "short"}
    ends = {job: found.of(job)[-1][0] for job in found.met}
    assert min(ends, key=lambda job: ends[job]) == "short"


def test_text_is_encoded_before_its_turn_so_that_its_request_shares_the_steps_of_others() -> None:
    """Alone on a rank, the less urgent request would have waited for the end of the other's steps."""
    for slo_s in (2.3, 6.0):
        found = run("sfumato", 1, image("a", slo_s), image("b", 30.0, at=0.1), costs=SharedCosts())
        assert any(len(launch.chunk.jobs) == 2 for _, launch in found.starts)
        assert found.met == {"a", "b"}


def test_text_is_not_encoded_before_its_turn_where_that_would_make_others_late() -> None:
    """Encoding takes half a second; the first request has less than that to spare, or more."""

    class LongText(SharedCosts):
        def unit_s(self, work: Work) -> float:
            return 0.5 if work.stage is Stage.ENCODE else super().unit_s(work)

    shared = {}
    for slo_s in (2.9, 4.5):
        found = run("sfumato", 1, image("a", slo_s), image("b", 30.0, at=0.6), costs=LongText())
        shared[slo_s] = any(len(launch.chunk.jobs) == 2 for _, launch in found.starts)
        assert found.met == {"a", "b"}
    assert shared == {2.9: False, 4.5: True}
