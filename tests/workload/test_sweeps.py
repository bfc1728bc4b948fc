"""A workload file may sweep over points, change its mix with time, and state what nothing else knows."""

from __future__ import annotations

from collections import Counter

import pytest

from sfumato.core.values import Stage
from sfumato.errors import ConfigError
from sfumato.workload.arrivals import draw
from sfumato.workload.load import parse
from sfumato.workload.points import swept as swept_points
from sfumato.workload.processes import mean_rate
from sfumato.workload.spec import Bursts, Piecewise, Poisson

TEXT = """
requests = 400
[[classes]]
name = "small"
model = "m"
size = "64x64"
steps = 4
slo_scale = 2.0
slo_at = "one"
slo_plus = 1.0
[[classes]]
name = "large"
model = "m"
size = "128x128"
steps = 4
slo_scale = 2.0
"""
POISSON = '[arrivals]\nprocess = "poisson"\nper_minute = 60\n'
SHIFTING = """[arrivals]
process = "piecewise"
per_second = [[0, 4.0], [50, 4.0]]
shares = [{ small = 1.0, large = 0.0 }, { small = 0.0, large = 1.0 }]
repeat_s = 100
"""


def swept(points: str) -> dict[str, tuple[float, float, list[float]]]:
    spec = parse(f"points = [{points}]\n{TEXT}{POISSON}")
    return {name: (w.rate_factor, w.slo_factor, [entry.share for entry in w.classes]) for name, w in swept_points(spec)}


def test_a_point_multiplies_the_factors_and_overrides_the_shares_that_it_names() -> None:
    found = swept('{ rate_factor = 2.0 }, { slo_factor = 1.5 }, { name = "much", shares = { large = 3.0 } }')
    assert found == {
        "120/min, SLO x1": (2.0, 1.0, [1.0, 1.0]),
        "60/min, SLO x1.5": (1.0, 1.5, [1.0, 1.0]),
        "much": (1.0, 1.0, [1.0, 3.0]),
    }


def test_a_file_without_points_is_one_workload_without_a_name() -> None:
    assert [name for name, _ in swept_points(parse(TEXT + POISSON))] == [""]


@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        ("{ rate_facto = 2 }", 'unknown key "rate_facto"; did you mean "rate_factor"'),
        ("{ shares = { smal = 1.0 } }", 'shares name class "smal"; did you mean "small"'),
        ("{ shares = { small = 0.0, large = 0.0 } }", "nothing that could arrive"),
    ],
)
def test_a_wrong_point_is_explained(points: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        swept(points)


def test_costs_are_stated_in_the_file_and_unknown_ones_are_errors() -> None:
    spec = parse(TEXT + POISSON + "[costs]\nswitch_s = 0.002\nlink_slowdown = 4.0\n")
    assert (spec.costs.switch_s, spec.costs.link_slowdown, spec.costs.launch_s) == (0.002, 4.0, None)
    with pytest.raises(ConfigError, match='unknown key "swich_s"; did you mean "switch_s"'):
        parse(TEXT + POISSON + "[costs]\nswich_s = 0.002\n")


def test_the_mix_follows_the_pieces() -> None:
    arrivals = draw(parse(TEXT + SHIFTING), standalone_s=lambda *_: 1.0)
    halves = Counter((arrival.cls, arrival.at % 100 < 50) for arrival in arrivals)
    assert set(halves) == {("small", True), ("large", False)}


def test_shares_must_be_one_a_piece() -> None:
    with pytest.raises(ConfigError, match="there are 2 pieces and 1 shares"):
        parse(TEXT + SHIFTING.replace(", { small = 0.0, large = 1.0 }", ""))


def test_an_slo_may_be_a_multiple_of_the_time_on_one_rank_and_some_seconds() -> None:
    arrivals = draw(parse(TEXT + POISSON), standalone_s=lambda *_: 1.0, on_one_s=lambda *_: 5.0)
    assert {arrival.cls: arrival.slo_s for arrival in arrivals} == {"small": 11.0, "large": 2.0}


def test_ranks_hold_the_stages_that_their_table_says() -> None:
    spec = parse(TEXT + POISSON + '[pool]\nranks = 1\nholds = ["diffuse"]\n[[pool.also]]\nranks = 2\n')
    assert spec.pool.holds_of() == ((Stage.DIFFUSE,), tuple(Stage), tuple(Stage))


def test_the_mean_rate_is_that_of_a_whole_round() -> None:
    assert mean_rate(Poisson(per_minute=60)) == 1.0
    assert mean_rate(Piecewise(per_second=((0, 1.0), (30, 4.0)), repeat_s=90)) == 3.0
    assert mean_rate(Bursts(every_s=10, size=5, per_second=1.0)) == 1.5
