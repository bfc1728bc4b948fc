"""The composition root: builds the Serving for serve, simulate, replay and profile alike.

Drivers are handed what is built here; they never import policies or cost models themselves.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec

from sfumato.core.policy import Policy
from sfumato.errors import ConfigError
from sfumato.policies import POLICIES


def policy_named(name: str, options: dict[str, Any] | None = None) -> Policy:
    """A policy of the table, or one of the user's own as `package.module:Class`.

    Raises ConfigError where the name is unknown, the module or class is missing, or an option is.
    """
    target = POLICIES.get(name, name)
    module_name, _, class_name = target.partition(":")
    if not class_name:
        known = ", ".join(sorted(POLICIES))
        raise ConfigError(f"policy: {name!r} is unknown; use one of {known}, or package.module:Class", field="policy")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"policy: no module {error.name!r} for {target}; is it on PYTHONPATH?", field="policy") from error
    found = getattr(module, class_name, None)
    if found is None:
        raise ConfigError(f"policy: module {module_name} has no {class_name}", field="policy")
    options_type = getattr(found, "Options", None)
    if options_type is None:
        if options:
            raise ConfigError(f"policy: {name} takes no options, got {sorted(options)}", field="policy")
        policy: Policy = found()
        return policy
    try:
        policy = found(msgspec.convert(options or {}, options_type))
    except msgspec.ValidationError as error:
        raise ConfigError(f"policy: wrong options for {name}: {error}", field="policy") from error
    return policy
