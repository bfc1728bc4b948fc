"""docs/policies.md: every policy with all its options as they are left out, and commands that can be given."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sfumato.assemble import policy_named
from sfumato.cli.choices import named, option
from sfumato.policies import POLICIES

PAGE = (Path(__file__).parents[1] / "docs" / "policies.md").read_text()


def defaults(name: str) -> dict[str, Any]:
    options = type(policy_named(name)).Options()  # type: ignore[attr-defined]
    plain: dict[str, Any] = json.loads(msgspec.json.encode(options))
    return plain


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "sfumato"])
def test_every_policy_is_there_with_its_options(name: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    told = dict(option(pair, "") for pair in re.findall(r"`(\w+=[^`]*)`", row))
    assert told == defaults(name)


def test_ours_has_a_row_an_option() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", PAGE, re.MULTILINE)
    assert {key: json.loads(value) for key, value in rows} == defaults("sfumato")


def test_the_commands_can_be_given() -> None:
    words = re.findall(r"--policy (?:'([^']*)'|(\S+))", PAGE)
    assert len(words) == 3
    for quoted, bare in words:
        policy_named(*named(quoted or bare))
    for quoted, bare in re.findall(r"--policy-option (?:'([^']*)'|(\S+))", PAGE):
        policy_named("sfumato", dict([option(quoted or bare, "--policy-option")]))
