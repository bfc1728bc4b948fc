"""The composition root: policies by name, of the table and of the user's own."""

from __future__ import annotations

from typing import Any

import pytest

from sfumato.assemble import policy_named
from sfumato.errors import ConfigError
from sfumato.policies import POLICIES


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_of_the_table_is_there_under_its_name(name: str) -> None:
    assert policy_named(name).name == name


def test_a_policy_of_the_users_own_is_named_by_module_and_class() -> None:
    assert policy_named("sfumato.policies.fixed:Fixed", {"degree": 2}).name == "fixed"


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("nonsense", {}, "'nonsense' is unknown; use one of .*fixed"),
        ("nowhere.at:All", {}, "no module 'nowhere' for nowhere.at:All"),
        ("json:Nothing", {}, "module json has no Nothing"),
        ("json:loads", {}, r"json:loads has no plan\(view\)"),
        ("fixed", {"degre": 2}, r"wrong options for fixed \(degree\)"),
        ("fixed", {"degree": "two"}, "wrong options for fixed"),
    ],
)
def test_what_is_no_policy_is_an_error_that_says_why(name: str, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        policy_named(name, options)
