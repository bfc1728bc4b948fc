"""A policy and its options in words, for `--policy` and `--policy-option`."""

from __future__ import annotations

from typing import Any

import pytest

from sfumato.assemble import policy_named
from sfumato.cli.choices import named, option
from sfumato.cli.options import config_of
from sfumato.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "name", "options"),
    [
        ("sfumato", "sfumato", {}),
        ("my.own:Policy,degree=2", "my.own:Policy", {"degree": 2}),
        ("tetriserve, rounds=false,granularity=1", "tetriserve", {"rounds": False, "granularity": 1}),
        ("static,rule=rasp", "static", {"rule": "rasp"}),
        (
            'sfumato,shares={"image": 0.2, "video": 0.3},aging=0.5',
            "sfumato",
            {"shares": {"image": 0.2, "video": 0.3}, "aging": 0.5},
        ),
        ("bucketed,buckets=[[8, 8], [4, 4]],rule=rssp", "bucketed", {"buckets": [[8, 8], [4, 4]], "rule": "rssp"}),
        ('a,text="x,y={",n=1', "a", {"text": "x,y={", "n": 1}),
        ('sfumato,weights={"a=b,c": 2.0}', "sfumato", {"weights": {"a=b,c": 2.0}}),
    ],
)
def test_a_value_may_have_commas_of_its_own(words: str, name: str, options: dict[str, Any]) -> None:
    assert named(words) == (name, options)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("fixed,width", '"width" in "fixed,width" is not KEY=VALUE'),
        ("fixed,width,degree=2", '"width" in "fixed,width,degree=2" is not KEY=VALUE'),
        ("fixed,=2", '"=2" in "fixed,=2" is not KEY=VALUE'),
        ("fixed,", '"" in "fixed," is not KEY=VALUE'),
        ("sfumato,shares={video: 0.3}", "is not JSON"),
        ('sfumato,shares={"video": 0.3', "is not JSON"),
        ('sfumato,shares={"video": 0.3} aging=1', "is not JSON"),
    ],
)
def test_what_is_not_an_option_is_named_with_the_fix(words: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        named(words)
    assert says in str(caught.value)


def test_the_server_takes_the_same_values() -> None:
    given = ("admission=feasible", 'shares={"image": 0.2, "video": 0.3}', "left_over=0", "explain=True")
    config = config_of(
        config_file=None, models=(), workers=None, policy="sfumato", options=given, profiles=(), journal=None
    )
    shares = {"image": 0.2, "video": 0.3}
    assert config.policy.options == {"admission": "feasible", "shares": shares, "left_over": 0, "explain": True}
    assert policy_named(config.policy.name, config.policy.options).name == "sfumato"
    with pytest.raises(ConfigError, match="--policy-option"):
        option("shares={video}", "--policy-option")
