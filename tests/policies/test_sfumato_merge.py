"""Two stages in one launch under `sfumato`: where nobody waits, no rank is free and the quantum has room."""

from __future__ import annotations

from sfumato.core.cost import Work
from sfumato.core.values import Chunk, Request, Stage
from tests.costs import PlainCosts
from tests.policies.small import image
from tests.policies.test_sfumato_stages import chunks


class Quick(PlainCosts):
    """A step takes 10 ms, on more ranks less; text and a picture 5 ms."""

    def unit_s(self, work: Work) -> float:
        return 0.01 / work.degree if work.stage is Stage.DIFFUSE else 0.005


def onward(ranks: int, *requests: Request, costs: PlainCosts | None = None) -> dict[Stage, list[Chunk]]:
    """The chunks that go on, by stage."""
    costs = costs or Quick()
    found = {stage: chunks(stage, ranks, costs, *requests) for stage in (Stage.ENCODE, Stage.DIFFUSE)}
    return {stage: [chunk for chunk in some if chunk.onward] for stage, some in found.items()}


def test_a_lone_request_on_the_only_rank_is_asked_for_twice_less() -> None:
    found = onward(1, image("a", 60.0, steps=40))
    (encode,), (last,) = found[Stage.ENCODE], found[Stage.DIFFUSE]
    assert encode.onward > 1
    assert last.onward == 1


def test_a_stage_longer_than_the_quantum_is_asked_for() -> None:
    class Slow(Quick):
        def unit_s(self, work: Work) -> float:
            return 500 * super().unit_s(work)

    assert onward(1, image("a", 60.0, steps=4), costs=Slow()) == {Stage.ENCODE: [], Stage.DIFFUSE: []}


def test_nothing_is_merged_while_somebody_waits() -> None:
    found = onward(1, image("a", 60.0, steps=40), image("b", 60.0, steps=40))
    assert not any(set(chunk.jobs) & {"a"} for chunk in found[Stage.ENCODE])


def test_nothing_is_merged_while_a_rank_is_free() -> None:
    assert onward(2, image("a", 60.0, steps=40)) == {Stage.ENCODE: [], Stage.DIFFUSE: []}
