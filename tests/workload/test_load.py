"""A workload file is read whole or refused with the key and the fix."""

import pytest

from sfumato.errors import ConfigError
from sfumato.workload.load import load, parse
from sfumato.workload.spec import Bursts, Poisson, Trace

GOOD = """
seed = 3
horizon_s = 60
noise = 0.01

[pool]
ranks = 4
device = "h100"
nodes = 2
memory_gib = 80

[[pool.also]]
ranks = 1
device = "l20"

[[models]]
name = "sd35"
profile = "profiles/sd35.json"

[[classes]]
name = "small"
size = "512x256"
steps = 28
guidance = 4.0
slo = 5

[[classes]]
name = "large"
size = "1024x1024"
steps = 28
share = 0.25
slo_scale = 3.0

[arrivals]
process = "poisson"
per_minute = 30
"""


def test_a_good_file_is_read_with_its_defaults(tmp_path):
    (tmp_path / "w.toml").write_text(GOOD)
    spec = load(tmp_path / "w.toml")
    assert spec.arrivals == Poisson(per_minute=30)
    assert [entry.model for entry in spec.classes] == ["sd35", "sd35"]
    assert (spec.classes[0].shape.width, spec.classes[0].shape.height) == (512, 256)
    assert spec.models[0].files == (str(tmp_path / "profiles/sd35.json"),)


def test_the_pool_numbers_its_ranks_over_nodes_and_kinds():
    infos = parse(GOOD).pool.infos()
    assert [info.rank for info in infos] == [0, 1, 2, 3, 4]
    assert [info.node for info in infos] == ["node0", "node0", "node1", "node1", "node2"]
    assert [info.device for info in infos] == ["h100"] * 4 + ["l20"]
    assert infos[0].memory_bytes == 80 * 2**30


@pytest.mark.parametrize(
    ("old", "new", "field", "says"),
    [
        ("seed = 3", "sede = 3", "sede", 'did you mean "seed"?'),
        ("share = 0.25", "shar = 0.25", "shar", 'classes[1]: unknown key "shar"; did you mean "share"?'),
        ('device = "l20"', 'devices = "l20"', "devices", 'did you mean "device"?'),
        ("per_minute = 30", "rate = 30", "rate", "use one of: process, per_second, per_minute"),
        ('"poisson"', '"poison"', "process", "poison"),
        ("steps = 28\nguidance", "guidance", "steps", 'the key "steps" is missing'),
        ('"512x256"', '"512*256"', "size", '"1024x768"'),
        ("ranks = 4", "ranks = 0", "ranks", ">= 1"),
        ("horizon_s = 60", "", "horizon_s", "set horizon_s (seconds) or requests"),
        ("slo = 5", "slo = 5\nslo_scale = 2.0", "slo", "keep one of them"),
        ("slo = 5", 'slo = 5\nmodel = "sd36"', "model", 'did you mean "sd35"?'),
        ('"large"', '"small"', "classes", "rename one"),
        ("per_minute = 30", "per_minute = 30\nper_second = 1", "per_second", "keep one of them"),
        ("per_minute = 30", "", "per_minute", "set per_second or per_minute"),
        ('"poisson"\nper_minute', '"piecewise"\nper_minute', "per_minute", "array"),
        ('"poisson"\nper_minute = 30', '"piecewise"\nper_minute = [[1, 2]]', "pieces", "begin at 0"),
        ('"poisson"\nper_minute = 30', '"piecewise"\nper_minute = [[0, 0]]', "pieces", "above 0"),
        ('"poisson"\nper_minute = 30', '"bursts"\nevery_s = 5\nsize = 3\nwithin_s = 6', "within_s", "5 or less"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key_and_the_fix(old, new, field, says):
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        parse(GOOD.replace(old, new, 1))
    assert caught.value.field == field
    assert says in str(caught.value)


def test_a_file_that_is_not_there_or_not_toml_is_a_user_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="not valid TOML"):
        parse("seed = ")


def test_a_trace_needs_neither_classes_nor_an_end(tmp_path):
    (tmp_path / "w.toml").write_text('[arrivals]\nprocess = "trace"\nfile = "t.jsonl"\n')
    assert load(tmp_path / "w.toml").arrivals == Trace(file=str(tmp_path / "t.jsonl"))


def test_bursts_need_no_rate_between_them():
    text = GOOD.replace('"poisson"\nper_minute = 30', '"bursts"\nevery_s = 5\nsize = 3')
    assert parse(text).arrivals == Bursts(every_s=5, size=3)


def troubled(*lines):
    return GOOD.replace("[[models]]", "\n".join(["[[pool.troubles]]", *lines, "", "[[models]]"]), 1)


def test_a_pool_may_have_ranks_that_die_and_ranks_that_slow_down():
    text = troubled("rank = 4", "at_s = 5", "dead = true", "until_s = 9", "[[pool.troubles]]", "rank = 4", "at_s = 9")
    first, second = parse(text.replace("at_s = 9", "at_s = 9\nslowdown = 3.0")).pool.troubles
    assert (first.rank, first.at_s, first.until_s, first.dead) == (4, 5, 9, True)
    assert (second.slowdown, second.until_s, second.dead) == (3.0, None, False)


@pytest.mark.parametrize(
    ("lines", "field", "says"),
    [
        (["rank = 5", "at_s = 1", "dead = true"], "rank", "ranks are 0 to 4"),
        (["rank = 1", "at_s = 1"], "dead", "needs dead = true, or a slowdown above 1"),
        (["rank = 1", "at_s = 1", "dead = true", "slowdown = 2.0"], "dead", "needs dead = true, or a slowdown above 1"),
        (["rank = 1", "at_s = 1", "until_s = 1", "dead = true"], "until_s", "set until_s above 1"),
        (["rank = 1", "at_s = 1", "slow = 2.0"], "slow", 'did you mean "slowdown"?'),
        (["rank = 1", "at_s = 1", "slowdown = 0.5"], "slowdown", ">= 1"),
        (
            ["rank = 1", "at_s = 1", "dead = true", "[[pool.troubles]]", "rank = 1", "at_s = 2", "slowdown = 2.0"],
            "at_s",
            "let them follow each other",
        ),
    ],
)
def test_a_trouble_that_cannot_be_is_refused_with_the_key_and_the_fix(lines, field, says):
    with pytest.raises(ConfigError) as caught:
        parse(troubled(*lines))
    assert caught.value.field == field
    assert says in str(caught.value)
