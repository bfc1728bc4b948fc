"""The same workload and seed give the same arrivals, of the rate, mix and SLO that the file asks for."""

import subprocess
import sys
from collections import Counter
from itertools import islice, pairwise
from statistics import mean, pstdev

import pytest
from msgspec.structs import replace

from sfumato.core.values import Shape
from sfumato.errors import ConfigError
from sfumato.workload.arrivals import Arrival, draw, requests
from sfumato.workload.processes import times
from sfumato.workload.spec import (
    Bursts,
    Gamma,
    ModelEntry,
    Piecewise,
    Poisson,
    RequestClass,
    Trace,
    Workload,
)
from sfumato.workload.trace import read_trace, write_trace

SMALL = RequestClass(name="small", model="m", size="64x64", steps=4, guidance=3.0, share=3.0, slo=2.0)
LARGE = RequestClass(name="large", model="m", size="128x96", frames=9, steps=8, share=1.0, slo_scale=3.0, priority=1)
FREE = RequestClass(name="free", model="m", size="64x64", steps=4, share=0.0)
BASE = Workload(arrivals=Poisson(per_second=5.0), classes=(SMALL, LARGE, FREE), horizon_s=400.0)


def standalone(model, shape, steps, guided):
    return 0.1 * steps * (2 if guided else 1)


def drawn(workload=BASE, **changes):
    return draw(replace(workload, **changes), standalone_s=standalone)


def test_the_same_seed_gives_the_same_arrivals_in_another_process():
    script = """
from sfumato.workload.arrivals import draw
from sfumato.workload.load import parse
import hashlib, msgspec
text = '''
horizon_s = 100
[[classes]]
name = "a"
model = "m"
size = "64x64"
steps = 4
[arrivals]
process = "gamma"
per_second = 2
cv = 2.0
'''
print(hashlib.sha256(msgspec.json.encode(draw(parse(text)))).hexdigest())
"""
    runs = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True) for _ in "ab"]
    assert len(runs[0].stdout) == 65
    assert runs[0].stdout == runs[1].stdout
    assert drawn() == drawn()
    assert drawn() != drawn(seed=1)


def test_another_rate_stretches_the_same_arrivals():
    slow, fast = drawn(requests=50), drawn(requests=50, rate_factor=2.0)
    assert [(a.cls, a.seed, a.prompt) for a in slow] == [(a.cls, a.seed, a.prompt) for a in fast]
    assert [a.at for a in fast] == pytest.approx([a.at / 2 for a in slow])


def test_the_mix_follows_the_shares_and_a_share_of_zero_never_comes():
    count = Counter(arrival.cls for arrival in drawn())
    assert count["small"] / count.total() == pytest.approx(0.75, abs=0.03)
    assert count["free"] == 0


def test_horizon_and_number_both_end_the_workload():
    assert len(drawn(requests=10)) == 10
    assert all(arrival.at < 3.0 for arrival in drawn(horizon_s=3.0, requests=10_000))


def test_slos_are_fixed_scaled_or_absent():
    arrivals = drawn(classes=(SMALL, LARGE, replace(FREE, share=1.0)))
    slos = {arrival.cls: arrival.slo_s for arrival in arrivals}
    assert slos == {"small": 2.0, "large": pytest.approx(2.4), "free": None}
    assert {a.slo_s for a in drawn(slo_factor=1.5) if a.cls == "small"} == {3.0}


def test_a_scaled_slo_without_a_standalone_time_says_what_is_missing():
    with pytest.raises(ConfigError, match="slo in seconds"):
        draw(BASE)


def test_guidance_is_a_second_pass_unless_the_model_is_distilled():
    assert {a.guided for a in drawn() if a.cls == "small"} == {True}
    distilled = drawn(models=(ModelEntry(name="m", distilled=True),))
    assert {a.guided for a in distilled} == {False}


@pytest.mark.parametrize("cv", [0.0, 0.5, 2.0])
def test_gamma_gaps_have_the_asked_mean_and_variation(cv):
    ats = [0.0, *islice(times(Gamma(per_second=5.0, cv=cv), seed=0), 10_000)]
    gaps = [b - a for a, b in pairwise(ats)]
    assert mean(gaps) == pytest.approx(0.2, rel=0.06)
    assert pstdev(gaps) / mean(gaps) == pytest.approx(cv, rel=0.06, abs=1e-6)


def test_poisson_arrivals_have_the_asked_rate_and_variation():
    gaps = [b - a for a, b in pairwise(arrival.at for arrival in drawn())]
    assert mean(gaps) == pytest.approx(0.2, rel=0.06)
    assert pstdev(gaps) / mean(gaps) == pytest.approx(1.0, rel=0.08)


def test_piecewise_rates_change_when_they_should_and_repeat():
    process = Piecewise(per_minute=((0.0, 600.0), (10.0, 0.0), (20.0, 60.0)), repeat_s=40.0)
    ats = [arrival.at for arrival in drawn(arrivals=process, horizon_s=400.0)]
    laps = [at % 40.0 for at in ats]
    assert sum(lap < 10 for lap in laps) == pytest.approx(1000, rel=0.1)
    assert not any(10 < lap < 20 for lap in laps)
    assert sum(lap > 20 for lap in laps) == pytest.approx(200, rel=0.2)


def test_a_piecewise_rate_that_ends_at_zero_ends_the_workload():
    ats = [a.at for a in drawn(arrivals=Piecewise(per_second=((0.0, 5.0), (10.0, 0.0))), horizon_s=None, requests=9999)]
    assert 20 < len(ats) < 90
    assert max(ats) <= 10.0


def test_bursts_come_on_time_beside_a_background_rate():
    ats = [a.at for a in drawn(arrivals=Bursts(every_s=20.0, size=7, within_s=1.0, per_second=0.5))]
    assert ats == sorted(ats)
    in_bursts = [at for at in ats if at >= 20.0 and at % 20.0 <= 1.0]
    assert len(in_bursts) == pytest.approx(19 * 7, abs=25)
    assert len(ats) - len(in_bursts) == pytest.approx(190, abs=45)


def test_a_trace_reads_back_exactly_and_replays_as_a_workload(tmp_path):
    arrivals = drawn(horizon_s=30.0)
    write_trace(tmp_path / "t.jsonl", arrivals)
    assert list(read_trace(tmp_path / "t.jsonl", Arrival)) == arrivals
    replay = Workload(arrivals=Trace(file=str(tmp_path / "t.jsonl")))
    assert draw(replay) == arrivals
    assert [a.at for a in draw(replace(replay, rate_factor=2.0))] == [a.at / 2 for a in arrivals]


def test_a_broken_line_of_a_trace_is_named(tmp_path):
    (tmp_path / "t.jsonl").write_text('\n{"at": 1.0, "class": "a"}\n')
    with pytest.raises(ConfigError, match="line 2 is not an arrival"):
        list(read_trace(tmp_path / "t.jsonl", Arrival))
    with pytest.raises(ConfigError, match="cannot read"):
        list(read_trace(tmp_path / "none.jsonl", Arrival))


def test_arrivals_become_requests_with_absolute_deadlines():
    arrival = Arrival(at=2.0, cls="a", model="m", shape=Shape(height=8, width=8), steps=3, slo_s=5.0)
    best_effort = replace(arrival, slo_s=None)
    first, second = requests([arrival, best_effort], start=100.0)
    assert (first.id, first.arrived_at, first.deadline, first.slo) == ("r0000", 102.0, 107.0, "a")
    assert (second.id, second.deadline) == ("r0001", None)


def test_a_class_may_bring_its_own_prompts():
    own = replace(SMALL, prompts=("a cat", "a dog"))
    assert {a.prompt for a in drawn(classes=(own,), requests=40)} == {"a cat", "a dog"}
