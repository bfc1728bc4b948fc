"""`sfumato` puts the two passes of guidance on the halves of a group where that is the better use of its ranks."""

from __future__ import annotations

from msgspec.structs import replace

from sfumato.core.cost import Work
from sfumato.core.values import Request
from tests.costs import PlainCosts
from tests.policies.small import Run, image, run

# A guided LARGE step takes 1/2 s on one rank; whole groups of 2 and 4 take 1/3 and 2/9 s, halved ones 1/4 and 1/6 s.
TIGHT_S = 2.5


class Reluctant(PlainCosts):
    """Halves take half as long again as they should."""

    def unit_s(self, work: Work) -> float:
        return super().unit_s(work) * (1.5 if work.cfg == 2 else 1.0)


def guided(request: Request) -> Request:
    return replace(request, guided=True)


def layouts(found: Run) -> set[tuple[int, int]]:
    """(ranks, halves) of all steps."""
    return {(len(launch.chunk.group), launch.chunk.cfg) for _, launch in found.starts}


def test_a_guided_request_that_needs_two_ranks_runs_its_passes_side_by_side() -> None:
    found = run("sfumato", 2, guided(image("a", TIGHT_S)))
    assert layouts(found) == {(2, 2)}
    assert found.met == {"a"}, "8 steps of 1/3 s would have been late"


def test_where_halves_take_longer_the_group_stays_whole() -> None:
    assert layouts(run("sfumato", 2, guided(image("a", 3.0)), costs=Reluctant())) == {(2, 1)}


def test_an_unguided_request_has_no_passes_to_share() -> None:
    assert layouts(run("sfumato", 2, image("a", 1.5))) == {(2, 1)}


def test_halves_reach_further_than_the_widest_degree() -> None:
    """The model spreads a pass over 4 ranks at most."""
    found = run("sfumato", 8, guided(image("a", 1.1)))
    assert layouts(found) == {(8, 2)}
    assert found.met == {"a"}
