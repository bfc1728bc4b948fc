"""A policy and its options in words: "NAME,KEY=VALUE,...".

A value is JSON, so a number, true or false, and a table or a list with commas of its own: `shares={"video": 0.3}`.
What is not JSON is text.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from sfumato.errors import ConfigError

_OPENS = ("{", "[", '"')  # what may have a comma inside


def named(policy: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of "NAME,KEY=VALUE,...". Raises ConfigError."""
    name, more, rest = policy.partition(",")
    options = {}
    while more:
        end = _end(rest)
        key, value = option(rest[:end], "--policy", f' in "{policy}"')
        options[key] = value
        more, rest = rest[end : end + 1], rest[end + 1 :]
    return name.strip(), options


def option(pair: str, flag: str, where: str = "") -> tuple[str, Any]:
    """The key and the value of KEY=VALUE. Raises ConfigError that names `flag`."""
    key, equals, text = (part.strip() for part in pair.partition("="))
    if not (key and equals):
        raise ConfigError(f'{flag}: "{pair}"{where} is not KEY=VALUE', field=flag)
    try:
        return key, json.loads(text)
    except json.JSONDecodeError as error:
        if text.startswith(_OPENS):
            fix = """write it as 'shares={"video": 0.3}', quoted for the shell"""
            message = f'{flag}: the value of "{pair}"{where} is not JSON ({error}); {fix}'
            raise ConfigError(message, field=flag) from None
    return key, {"true": True, "false": False}.get(text.lower(), text)


def _end(rest: str) -> int:
    """Where the first KEY=VALUE ends: at its end, or at the first comma that is not within its value."""
    value = rest.find("=") + 1
    comma = rest.find(",")
    if 0 < value <= comma:
        start = len(rest) - len(rest[value:].lstrip())
        with suppress(json.JSONDecodeError):  # then `option` says what is wrong with it
            comma = rest.find(",", json.JSONDecoder().raw_decode(rest, start)[1])
    return len(rest) if comma < 0 else comma
