"""Options that several verbs share, and the Config they make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sfumato.cli.choices import option
from sfumato.cli.shipped import PROFILE
from sfumato.config import Config, read_config
from sfumato.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

_SERVING = [
    click.option(
        "--config", "config_file", type=click.Path(exists=True, dir_okay=False), help="TOML; flags win over it."
    ),
    click.option(
        "--model",
        "models",
        multiple=True,
        metavar="NAME=PATH_OR_ID",
        help="A diffusers checkpoint: folder, hub id, or sfumato/tiny-image, sfumato/tiny-video. May be repeated. "
        "Default: the two embedded models.",
    ),
    click.option(
        "--workers", type=click.IntRange(min=1), help="Worker processes, one a rank. Default: GPUs, else cores."
    ),
    click.option(
        "--policy", metavar="NAME", help="sfumato, fixed, edf, srtf, ... or package.module:Class. Default: sfumato."
    ),
    click.option(
        "--policy-option",
        "options",
        multiple=True,
        metavar="KEY=VALUE",
        help="""An option of the policy. May be repeated. A value may be JSON: 'shares={"video": 0.3}'.""",
    ),
    click.option(
        "--profile",
        "profiles",
        multiple=True,
        type=PROFILE,
        help="A profile file, folder or shipped name. Default: those that `sfumato profile` wrote; without one, times "
        "are estimated.",
    ),
    click.option("--journal", type=click.Path(file_okay=False), help="Folder for the journal. Default: none is kept."),
]


def serving_options(function: F) -> F:
    """Adds the options that decide what is served, on what, and by which policy."""
    for decorate in reversed(_SERVING):
        function = decorate(function)
    return function


def config_of(
    *,
    config_file: str | None,
    models: tuple[str, ...],
    workers: int | None,
    policy: str | None,
    options: tuple[str, ...],
    profiles: tuple[Path, ...],
    journal: str | None,
    **server: Any,
) -> Config:
    """The Config of the shared options; `server` is more of the [server] table."""
    given = dict(_pair("--model", text) for text in models) or None
    flags: dict[str, dict[str, Any]] = {
        "workers": {"count": workers},
        "policy": {"name": policy, "options": dict(option(text, "--policy-option") for text in options) or None},
        "server": {"profiles": tuple(map(str, profiles)) or None, "journal": journal, **server},
    }
    config = read_config(config_file, flags)
    return config if given is None else _with_models(config, given)


def _with_models(config: Config, models: dict[str, str]) -> Config:
    from msgspec.structs import replace

    return replace(config, models=models)


def _pair(flag: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        return text, text  # a bare hub id or embedded name is its own name
    if not (name and value):
        raise ConfigError(f"{flag}: {text!r} is not NAME=PATH_OR_ID", field=flag)
    return name, value
