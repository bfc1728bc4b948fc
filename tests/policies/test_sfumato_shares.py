"""Who is served when not all can be: weights of classes, guaranteed shares, and left-over work that never starves."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sfumato.assemble import policy_named
from sfumato.core.values import Request
from sfumato.errors import ConfigError
from sfumato.policies.sfumato.merge import Launched
from sfumato.policies.sfumato.outlook import Flags
from sfumato.policies.sfumato.shares import paid
from tests.policies.small import image, run, video
from tests.policies.test_sfumato_merge import Quick


def _overload(count: int) -> list[Request]:
    """One rank; images of 2 s each every 2 s, and videos of 8 s each every 16 s: half too much."""
    images = [replace(image(f"i{n:02d}", 6.0, at=2.0 * n), slo="image") for n in range(count)]
    videos = [replace(video(f"v{n:02d}", 40.0, at=16.0 * n), slo="video") for n in range(count // 8)]
    return [*images, *videos]


def _met(found: set[str], kind: str) -> int:
    return sum(name.startswith(kind) for name in found)


def test_under_overload_a_guaranteed_share_has_videos_served_in_time() -> None:
    plain = run("sfumato", 1, *_overload(40))
    shared = run("sfumato", 1, *_overload(40), shares={"video": 0.4})
    assert _met(plain.met, "v") <= 1
    assert _met(shared.met, "v") >= 3
    assert _met(shared.met, "i") >= 18


def test_what_a_rank_goes_on_with_by_itself_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = list[float]()

    def watched(owed: dict[str, float], launches: list[Launched], keep: Flags) -> dict[str, float]:
        spent.append(10.0 - paid({"image": 10.0}, launches, keep)["image"])
        return paid(owed, launches, keep)

    monkeypatch.setattr("sfumato.policies.sfumato.decide.paid", watched)
    asked = replace(image("a", 60.0, steps=40), slo="image")
    assert run("sfumato", 1, asked, costs=Quick(), shares={"image": 0.5}).met
    assert sum(spent) == pytest.approx(0.005 + 40 * 0.01 + 0.005, rel=0.01)


def test_a_weight_decides_who_is_saved() -> None:
    """Two requests of the same work and deadline, and time for one of them."""
    gold, plain = replace(image("gold", 2.4), slo="gold"), image("plain", 2.4)
    assert "gold" in run("sfumato", 1, gold, plain, weights={"gold": 5.0}).met
    assert "plain" in run("sfumato", 1, gold, plain, weights={"gold": 0.2}).met


@pytest.mark.parametrize("slo_s", [None, 0.5])
def test_best_effort_and_late_work_ends_though_the_pool_is_always_full(slo_s: float | None) -> None:
    requests = [image(f"i{n:03d}", 2.6, at=2.05 * n) for n in range(150)]
    left = image("left", slo_s, steps=4)
    kept = run("sfumato", 1, *requests, left)
    assert kept.outcomes["left"].at < 260.0
    assert len(kept.met) >= 130


def test_late_work_that_is_long_overdue_passes_shorter_work() -> None:
    """Without aging the short late requests that keep coming would always go first."""
    late = [image(f"s{n:02d}", 0.5, at=2.0 * n, steps=8) for n in range(30)]
    long = image("long", 0.5, steps=16)
    patient = run("sfumato", 1, long, *late, left_over=0.0, aging=0.0)
    aging = run("sfumato", 1, long, *late, left_over=0.0, aging=0.2)
    assert aging.outcomes["long"].at < patient.outcomes["long"].at


@pytest.mark.parametrize("options", [{"weights": {"gold": 0.0}}, {"shares": {"a": 0.7, "b": 0.6}}, {"left_over": -0.1}])
def test_an_option_that_makes_no_sense_says_so(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="sfumato"):
        policy_named("sfumato", options)
