"""Reuse between steps: what is computed is exact, who asked for exact is exact, and all ranks agree on the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from sfumato.cost import estimates
from sfumato.errors import CheckpointError, RequestError
from sfumato.models import Task, describe, load_model
from sfumato.models.progress import Pass
from sfumato.models.reuse_rules import FILE, UNFITTED, Rule, features, read_habits, spans_of
from sfumato.runtime.weighing import state_bytes

from .kinds import KINDS, TOLERANCE, mix
from .threads import encode, on_group

ALWAYS = Rule(limit=-1.0)  # nothing is below it
NEVER = Rule(limit=1e9)
LEARNED = Rule(
    limit=0.05, weights=((1.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
)  # two spans, the second thrice as strict
TWO_PASS = ("flux", "wan-unipc")


class Checkered(Rule, frozen=True, kw_only=True):
    """Computes every other token, another half in each span."""

    def estimate(self, moved: Tensor, gap: Tensor, time: float) -> Tensor:
        del gap, time
        return (torch.arange(moved.shape[1]) + torch.arange(len(moved))[:, None]) % 2 + 0.0


HALF = Checkered(limit=0.5, weights=((0.0,) * 4,) * 2)


def both(kind: str) -> list[Task]:
    """Two tasks of unlike shapes, both guided."""
    return mix(kind)[::2]


def fast(task: Task) -> Task:
    return replace(task, payload=replace(task.payload, quality="fast"))


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the largest value where that is above 1."""
    return float((one - other).abs().max() / other.abs().max().clamp(min=1.0))


def run(used: Any, tasks: list[Task], group: Any = None, cfg: int = 1) -> list[Any]:
    states = encode(used, tasks)
    while active := [state for state in states if state.done < state.task.steps]:
        used.step(active, group, cfg)
    return states


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """A loaded model of a kind with several blocks after the first."""
    made: dict[str, Any] = {}

    def make(kind: str) -> Any:
        if kind not in made:
            layers = 2 if kind.startswith("flux") else 4  # flux has as many of each kind
            offer = describe(str(partial(KINDS[kind].write, layers=layers)(tmp_path_factory.mktemp("deep") / kind)))
            made[kind] = load_model(offer)
            made[kind].load(offer.components.values())
        return made[kind]

    return make


@pytest.fixture
def ruled(deep: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Rule], Any]:
    """A deep model whose "fast" follows a rule."""

    def make(kind: str, rule: Rule) -> Any:
        used = deep(kind)
        monkeypatch.setattr(used, "rules", {"fast": rule})
        return used

    return make


@pytest.mark.parametrize("kind", ["flux", "flux-distilled", "wan-unipc", "wan-experts"])
def test_where_nothing_may_be_reused_the_picture_is_the_exact_one(kind: str, ruled: Any) -> None:
    used, tasks = ruled(kind, ALWAYS), mix(kind)
    for state, task in zip(run(used, [fast(task) for task in tasks]), tasks, strict=True):
        assert apart(state.latent, run(used, [task])[0].latent) <= TOLERANCE
        assert state.spared == 0


@pytest.mark.parametrize("kind", ["flux", "wan-experts"])
def test_where_all_may_be_reused_only_what_must_is_computed(kind: str, ruled: Any) -> None:
    (state,) = run(ruled(kind, NEVER), [fast(mix(kind)[0])])
    wholes = 2 if kind == "wan-experts" else 1  # the second expert has no past with the first
    assert state.spared == pytest.approx(state.task.steps - wholes)
    assert torch.isfinite(state.latent).all()


@pytest.mark.parametrize("size", [1, 2, 3, 8])  # of four heads: alone, shared, in a ring, in a ring of two fours
@pytest.mark.parametrize("kind", TWO_PASS)
def test_tokens_computed_beside_kept_keys_and_values_are_exact(kind: str, size: int, ruled: Any) -> None:
    used, tasks = ruled(kind, HALF), [fast(task) for task in both(kind)]

    def work(group: Any) -> tuple[list[Tensor], list[Tensor], float]:
        states = encode(used, tasks)
        passes = [Pass(state, side) for side in (False, True) for state in states]
        with torch.inference_mode():
            whole = used.predict_packed(passes, group, None)
            for state in states:
                for kept in state.reuse.values():
                    kept.done = state.done  # the same step again: what is kept is what would be computed
            return whole, used.predict_packed(passes, group, None), sum(state.spared for state in states)

    for whole, half, spared in on_group(size, work):
        assert spared == pytest.approx(1.0, abs=0.1)
        assert max(apart(a, b) for a, b in zip(whole, half, strict=True)) <= TOLERANCE


@pytest.mark.parametrize("rule", [HALF, NEVER], ids=["half", "never"])
@pytest.mark.parametrize("kind", TWO_PASS)
def test_who_asks_for_exact_is_exact_beside_who_does_not(kind: str, rule: Rule, ruled: Any) -> None:
    used, (first, *others) = ruled(kind, rule), mix(kind)
    exact, *_ = run(used, [first, *map(fast, others)])
    assert apart(exact.latent, run(used, [first])[0].latent) <= TOLERANCE
    assert exact.spared == 0
    assert not exact.reuse


@pytest.mark.parametrize("rule", [HALF, NEVER, LEARNED], ids=["half", "never", "learned"])
@pytest.mark.parametrize("kind", [*TWO_PASS, "wan-experts"])
def test_a_request_reuses_the_same_alone_in_a_batch_and_on_a_group(kind: str, rule: Rule, ruled: Any) -> None:
    used, tasks = ruled(kind, rule), [fast(task) for task in both(kind)]
    alone = [run(used, [task])[0] for task in tasks]
    ways = [run(used, tasks), *on_group(2, lambda group: run(used, tasks, group))]
    ways += on_group(4, lambda group: run(used, tasks, group, 2))
    ways += on_group(3, lambda group: run(used, tasks, group))
    for states in ways:
        for state, expected in zip(states, alone, strict=True):
            assert apart(state.latent, expected.latent) <= 3 * TOLERANCE
            assert state.spared == pytest.approx(expected.spared)
    for ranks in (ways[1:3], ways[3:7], ways[7:]):
        for states in ranks[1:]:
            assert all(torch.equal(a.latent, b.latent) for a, b in zip(states, ranks[0], strict=True))


@pytest.mark.parametrize("kind", TWO_PASS)
def test_a_pause_changes_nothing_and_others_may_run_meanwhile(kind: str, ruled: Any) -> None:
    used, (first, second, _) = ruled(kind, HALF), [fast(task) for task in mix(kind)]
    (straight,) = run(used, [first])
    (paused,) = encode(used, [first])
    for _ in range(first.steps):
        used.step([paused])
        run(used, [second])
    assert torch.equal(paused.latent, straight.latent)


@pytest.mark.parametrize("rule", [HALF, NEVER], ids=["half", "never"])
@pytest.mark.parametrize("kind", [*TWO_PASS, "wan-experts"])
def test_degrees_change_and_ranks_join_without_a_past_and_all_agree(kind: str, rule: Rule, ruled: Any) -> None:
    used, tasks = ruled(kind, rule), [replace(fast(task), steps=8) for task in both(kind)]

    def work(group: Any) -> list[Any]:
        states = encode(used, tasks)
        for turn, cfg in enumerate((1, 1, 2, 1, 2, 2, 1)):
            if turn in (1, 5):
                used.step(states)  # each alone, so all the same
            else:
                used.step(states, group, cfg)
            if turn == 3 and group.rank == 1:  # it comes anew
                states = [used.thaw(used.freeze_static(state), used.freeze(state)) for state in states]
        used.step(states, group)
        return states

    ranks = on_group(2, work)
    assert all(torch.equal(a.latent, b.latent) for a, b in zip(*ranks, strict=True))
    assert all(state.done == 8 and 0 < state.spared < 8 for states in ranks for state in states)


def test_who_moves_computes_a_step_whole_and_then_reuses_again(ruled: Any) -> None:
    used = ruled("flux", NEVER)
    (state,) = encode(used, [replace(fast(mix("flux")[0]), steps=5)])
    used.step([state])
    used.step([state])
    assert state.bare() == (state.task, state.conditioning, 0, 0), "its past is freed where it was"
    moved = used.thaw(state.bare(), used.freeze(state))
    used.step([moved])
    assert moved.spared == 0
    used.step([moved])
    assert moved.spared == 1


def test_who_is_short_of_memory_gives_up_its_past_and_computes_a_step_whole(ruled: Any) -> None:
    used = ruled("flux", NEVER)
    (state,) = encode(used, [fast(mix("flux")[0])])
    used.step([state])
    state.shed()
    assert not state.reuse
    used.step([state])
    assert state.spared == 0


@pytest.mark.parametrize("kind", TWO_PASS)
def test_a_guided_request_keeps_three_vectors_a_token_and_pass_less_than_the_rule_says_and_none_to_decode(
    kind: str, ruled: Any
) -> None:
    used, asked = ruled(kind, replace(NEVER, patches=False)), both(kind)[0]
    (state,) = encode(used, [fast(asked)])
    before = state_bytes([state], "cpu")
    used.step([state])
    kept, one = state_bytes([state], "cpu") - before, state.reuse[False]
    vectors = 2 * 3 * one.first.nbytes
    assert vectors <= kept <= 1.2 * vectors  # this narrow, two numbers a token beside them show
    assert state_bytes([state], "cpu") <= before + estimates.reuse_bytes(asked.shape, guided=True)
    while state.done < asked.steps:
        used.step([state])
    assert state_bytes([state], "cpu") == pytest.approx(before + kept, rel=0.1)
    used.decode(state)
    assert not state.reuse


def test_a_batch_that_fails_leaves_no_past_that_would_be_believed(ruled: Any) -> None:
    used = ruled("flux", NEVER)
    (state,) = encode(used, [fast(mix("flux")[0])])
    used.step([state])
    with torch.inference_mode():
        used.predict_packed([Pass(state)], None, None)  # the step is computed, but not taken
    assert state.reuse[False].done == state.done + 1
    spared = state.spared
    used.step([state])
    assert state.spared == spared


def test_a_checkpoint_without_a_file_of_its_own_has_the_rules_of_all(tmp_path: Path) -> None:
    assert read_habits(tmp_path) == UNFITTED


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "truncated"),
        ('{"rules": {"best": {"limit": 1}}}', "best"),
        ('{"rules": {"fast": {"limit": 1, "weights": [[1, 2]]}}}', "4 weights for each span"),
        (
            '{"rules": {"fast": {"limit": 1, "weights": [[1,2,3,4]]}, '
            '"high": {"limit": 1, "weights": [[1,2,3,4],[1,2,3,4]]}}}',
            "different spans",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_fix(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(CheckpointError, match=rf"(?s)reuse\.json.*{reason}.*remove it"):
        read_habits(tmp_path)


def test_spans_cover_the_blocks_after_the_first_evenly() -> None:
    assert spans_of({"fast": LEARNED}, 8) == [range(1, 4), range(4, 8)]
    assert spans_of({"fast": NEVER}, 8) == [range(1, 8)]
    assert spans_of({"fast": replace(LEARNED, weights=LEARNED.weights * 9)}, 3) == [range(1, 2), range(2, 3)]


def test_a_predictor_estimates_from_what_moved_and_when() -> None:
    moved, gap = torch.tensor([[0.1, 0.2]]), torch.tensor([[0.05, 0.05]])
    rule = Rule(limit=1.0, weights=((1.0, 0.5, 0.25, -1.0),))
    expected = (features(moved, gap, 0.9) @ torch.tensor([1.0, 0.5, 0.25, -1.0])).exp()
    torch.testing.assert_close(rule.estimate(moved, gap, 0.9), expected)
    assert torch.equal(NEVER.estimate(moved, gap, 0.9), moved)


def test_a_family_that_does_not_reuse_offers_only_exact(checkpoint: Any) -> None:
    assert checkpoint("flux").qualities == ("exact", "high", "fast")
    checkpoint("flux").check_quality("fast")
    with pytest.raises(RequestError, match="quality: 'fast' is not offered by sdxl-euler; use exact"):
        checkpoint("sdxl-euler").check_quality("fast")
