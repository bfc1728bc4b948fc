"""`sfumato simulate` on a small workload with a published profile."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from sfumato.cli import cli
from sfumato.cli.searches import held_at
from sfumato.cli.trials import Trial, run
from sfumato.cli.worlds import world_of
from sfumato.core.values import Shape
from sfumato.errors import ConfigError
from sfumato.report.journal import read
from sfumato.workload.arrivals import draw
from sfumato.workload.load import parse
from sfumato.workload.trace import write_trace

PROFILES = Path(__file__).parents[2] / "profiles" / "published"
WORKLOAD = f"""
seed = 3
requests = 12
noise = 0.01
[pool]
ranks = 4
device = "h100"
[[models]]
name = "flux"
profile = "{PROFILES / "h100-flux1-dev-modelled.json"}"
distilled = true
[[classes]]
name = "small"
size = "512x512"
steps = 28
guidance = 3.5
slo_scale = 3.0
[[classes]]
name = "large"
size = "2048x2048"
steps = 28
guidance = 3.5
slo_scale = 3.0
[arrivals]
process = "poisson"
per_minute = 90
"""


@pytest.fixture(autouse=True)
def _no_profiles_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    path = tmp_path / "mixed.toml"
    path.write_text(WORKLOAD)
    return path


def simulate(*words: object) -> Result:
    return CliRunner().invoke(cli, ["simulate", *map(str, words)], terminal_width=120)


def test_policies_stand_side_by_side_with_their_gain_over_the_first(workload: Path) -> None:
    result = simulate(workload, "--policy", "fixed", "--policy", "sfumato", "--policy", "srtf", "--seeds", 2)
    assert result.exit_code == 0, result.output
    for word in ("fixed", "sfumato", "srtf", "small", "large", "Points over fixed, paired", "2 seeds"):
        assert word in result.output


def test_modelled_and_estimated_times_are_named(workload: Path) -> None:
    result = simulate(workload, "--seeds", 1)
    assert "modelled times" in result.output
    assert "flux: modelled on h100" in result.output
    assert "encode of all classes" in result.output


def test_the_json_has_a_run_a_seed(workload: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "figures.json"
    assert simulate(workload, "--seeds", 3, "--out", out).exit_code == 0
    found = json.loads(out.read_text())["mixed"]
    assert found["seeds"] == [3, 4, 5]
    assert [profile["kind"] for profile in found["profiles"]] == ["modelled"]
    for policy in ("fixed", "sfumato"):
        assert [run["requests"] for run in found["policies"][policy]] == [12, 12, 12]


def test_every_policy_sees_the_same_requests_at_the_same_times(workload: Path, tmp_path: Path) -> None:
    assert simulate(workload, "--seeds", 2, "--journal", tmp_path / "kept").exit_code == 0
    seen = {
        (policy, seed): [
            life.request for life in read(tmp_path / "kept" / "mixed" / policy / f"seed-{seed}").lives.values()
        ]
        for policy in ("fixed", "sfumato")
        for seed in (3, 4)
    }
    assert seen["fixed", 3] == seen["sfumato", 3] != seen["fixed", 4] == seen["sfumato", 4]
    assert len(seen["fixed", 3]) == 12


def test_the_journal_of_every_run_replays(workload: Path, tmp_path: Path) -> None:
    assert simulate(workload, "--seeds", 1, "--journal", tmp_path / "kept").exit_code == 0
    for policy in ("fixed", "sfumato"):
        result = CliRunner().invoke(cli, ["replay", str(tmp_path / "kept" / "mixed" / policy / "seed-3")])
        assert "replay to the same commands" in result.output


def test_factors_tighten_the_workload(workload: Path, tmp_path: Path) -> None:
    attainments = []
    for factor in (1.0, 0.2):
        simulate(workload, "--seeds", 1, "--policy", "sfumato", "--slo-factor", factor, "--out", tmp_path / "f.json")
        run = json.loads((tmp_path / "f.json").read_text())["mixed"]["policies"]["sfumato"][0]
        attainments.append(run["slo_attainment_rate"])
    assert attainments[0] > attainments[1]


def test_a_model_without_a_profile_is_an_error_that_says_what_to_do() -> None:
    text = WORKLOAD.replace("profile = ", "# ")
    with pytest.raises(ConfigError, match=r'there is no profile for "flux".*--profile'):
        world_of(parse(text))


def test_an_embedded_model_is_simulated_from_estimates_and_that_is_said() -> None:
    text = WORKLOAD.replace('name = "flux"', 'name = "sfumato/tiny-image"').replace("profile = ", "# ")
    text = text.replace("512x512", "128x128").replace("2048x2048", "96x96")
    workload = parse(text)
    world = world_of(workload, [str(PROFILES)])
    (remark,) = world.remarks(workload)
    assert "no profile; estimated: encode of all classes; diffuse of all classes" in remark


def test_a_standalone_request_takes_its_fastest_degree() -> None:
    world = world_of(parse(WORKLOAD))
    alone_s = world.standalone_s()
    shape = Shape(height=2048, width=2048)
    lone = world_of(parse(WORKLOAD.replace("ranks = 4", "ranks = 1"))).standalone_s()
    assert alone_s("flux", shape, 28, False) < 0.5 * lone("flux", shape, 28, False)


def test_an_unknown_policy_is_named(workload: Path) -> None:
    result = simulate(workload, "--policy", "lucky")
    assert result.exit_code
    assert "lucky" in str(result.exception)


def test_the_verb_is_listed() -> None:
    assert "simulate" in cli.list_commands(click.Context(cli))


def test_attainment_stands_beside_its_share_of_the_offline_bound_unless_it_is_not_wanted(
    workload: Path, tmp_path: Path
) -> None:
    words = (workload, "--policy", "fixed", "--seeds", 1, "--out", tmp_path / "figures.json")
    assert "of bound" in simulate(*words).output
    figures = json.loads((tmp_path / "figures.json").read_text())["mixed"]
    (most,) = figures["bounds"]
    assert 0 < figures["policies"]["fixed"][0]["slo_attainment_rate"] <= most <= 1
    assert "of bound" not in simulate(*words, "--no-bound").output


SWEEP = "points = [{ rate_factor = 0.5 }, { rate_factor = 1.0 }, { slo_factor = 1.5 }]"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "swept.toml"
    path.write_text(f"{SWEEP}\nseeds = 2\n{WORKLOAD}")
    return path


def test_a_swept_file_is_one_table_with_a_row_a_point_and_policy(sweep: Path, tmp_path: Path) -> None:
    words = (sweep, "--policy", "fixed", "--policy", "fixed,degree=4", "--out", tmp_path / "f.json", "--no-bound")
    result = simulate(*words)
    assert result.exit_code == 0, result.output
    for word in ("45/min, SLO x1", "90/min, SLO x1.5", "fixed,degree=4", "2 seeds", "degrees"):
        assert word in result.output
    found = json.loads((tmp_path / "f.json").read_text())
    assert list(found) == ["swept, 45/min, SLO x1", "swept, 90/min, SLO x1", "swept, 90/min, SLO x1.5"]
    assert all(len(runs) == 2 for point in found.values() for runs in point["policies"].values())


def test_what_was_run_is_kept_and_not_run_again(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (sweep, "--policy", "fixed", "--no-bound")
    first = simulate(*words)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it ran again")

    monkeypatch.setattr("sfumato.cli.trials.simulated", never)
    assert simulate(*words).output == first.output
    assert isinstance(simulate(*words, "--fresh").exception, AssertionError)


def test_runs_with_a_journal_are_made_again_and_kept_but_not_their_bound(
    workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (workload, "--policy", "fixed", "--seeds", 1)
    first = simulate(*words, "--journal", tmp_path / "first")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it ran again")

    monkeypatch.setattr("sfumato.sim.bound.bound", never)
    assert simulate(*words, "--journal", tmp_path / "again").output == first.output
    assert [path.name for path in (tmp_path / "again" / "mixed").iterdir()] == ["fixed"]
    monkeypatch.setattr("sfumato.cli.trials.simulated", never)
    assert simulate(*words).output == first.output


def test_a_trace_that_was_written_anew_is_run_again(tmp_path: Path) -> None:
    text = WORKLOAD[: WORKLOAD.index("[arrivals]")]
    path = tmp_path / "traced.toml"
    path.write_text(f'{text}[arrivals]\nprocess = "trace"\nfile = "trace.jsonl"\n')
    words = (path, "--policy", "fixed", "--seeds", 1, "--no-bound")
    shown = []
    for seed in (1, 2):
        write_trace(tmp_path / "trace.jsonl", draw(parse(WORKLOAD.replace("slo_scale", "slo")), seed=seed))
        shown.append(simulate(*words).output)
    assert "12.0 requests" in shown[0]
    assert shown[0] != shown[1]


def test_drawings_are_of_both_axes_the_latencies_and_the_ranks(sweep: Path, tmp_path: Path) -> None:
    result = simulate(sweep, "--policy", "fixed", "--seeds", 1, "--no-bound", "--plots", tmp_path / "drawn")
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "drawn" / "swept").iterdir()}
    assert names == {"attainment-rate.png", "attainment-slo.png", "latency.png", "gantt.png"}


def test_a_rate_and_a_pool_are_found_that_hold_an_attainment(workload: Path, tmp_path: Path) -> None:
    words = (workload, "--policy", "fixed,degree=4", "--seeds", 1, "--attainment", 0.8, "--out", tmp_path / "f.json")
    result = simulate(*words, "--find-rate", "--find-ranks")
    for word in ("highest rate a minute", "fewest ranks", "80% in time", "modelled times", "flux: modelled on h100"):
        assert word in result.output, result.output
    found = json.loads((tmp_path / "f.json").read_text())["mixed"]
    assert found["highest_rate"][""]["fixed,degree=4"] > 4
    assert found["fewest_ranks"][""]["fixed,degree=4"] >= 4
    assert [profile["kind"] for profile in found["profiles"]] == ["modelled"]


def test_a_run_that_was_given_up_says_so() -> None:
    """Of its twelve requests five come late."""
    trial = Trial(workload=replace(parse(WORKLOAD), rate_factor=0.3), policy="sfumato", seed=11)
    found = {missable: run(replace(trial, missable=missable)) for missable in (None, 0.3, 0.45)}
    assert [ran.gave_up for ran in found.values()] == [False, True, False]
    assert found[0.45].figures == found[None].figures
    assert found[0.3].figures["slo_judged"] < found[None].figures["slo_judged"] == 12


def test_one_bad_run_among_good_ones_does_not_end_a_search() -> None:
    """Seven runs of which the first has 58% in time, one 92% and five all: 93% on average."""
    workload = replace(parse(WORKLOAD), seed=11, seeds=7, rate_factor=0.3)
    trial = Trial(workload=workload, policy="sfumato", seed=11)
    assert held_at(trial, 0.9, jobs=1)
    assert not held_at(replace(trial, workload=replace(workload, seeds=1)), 0.9, jobs=1)


@pytest.mark.parametrize("word", ["--plots", "--journal", "--explain"])
def test_a_search_says_what_it_does_not_do(workload: Path, tmp_path: Path, word: str) -> None:
    value = () if word == "--explain" else (tmp_path / "there",)
    assert f"{word}: a search keeps no single run" in str(simulate(workload, "--find-rate", word, *value).exception)


def test_modelled_figures_can_be_scaled_and_that_is_said(workload: Path) -> None:
    result = simulate(workload, "--policy", "fixed", "--seeds", 1, "--modelled-factor", 1.3)
    assert "modelled figures x 1.3" in result.output


def test_an_option_that_a_policy_lacks_is_named(workload: Path) -> None:
    result = simulate(workload, "--policy", "fixed,width=2")
    assert "degree" in str(result.exception)
    assert "is not KEY=VALUE" in str(simulate(workload, "--policy", "fixed,width").exception)
