"""Options of a policy that name what is not there: they would do nothing, or let requests wait for ever.

A policy of the user's own may mean something else by these words, so it is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sfumato.cli.choices import named
from sfumato.cli.trials import Trial
from sfumato.core.values import ModelSpec, Stage
from sfumato.errors import ConfigError
from sfumato.policies import POLICIES
from sfumato.workload.load import choice
from sfumato.workload.spec import Trace

BY_CLASS = ("shares", "weights")  # tables whose keys are classes


def check_policy(policy: str, trial: Trial, *, resized: bool) -> None:
    """Raises ConfigError unless classes and degree are the workload's; `resized`: ranks are sought, any may come."""
    name, options = named(policy)
    check_classes(name, options, trial)
    check_degree(name, options, trial.world.models, None if resized else len(trial.world.ranks))


def check_classes(name: str, options: Mapping[str, Any], trial: Trial) -> None:
    """Raises ConfigError where a table has a class that no request of the workload is of."""
    tables = [(key, options[key]) for key in BY_CLASS if name in POLICIES and isinstance(options.get(key), dict)]
    known = _classes(trial) if tables else []
    for key, table in tables:
        unknown = next((each for each in table if each not in known), None)
        if unknown is not None:
            raise ConfigError(f'policy {name}: {key} name class "{unknown}"; {choice(unknown, known)}', field=key)


def check_degree(name: str, options: Mapping[str, Any], models: Mapping[str, ModelSpec], ranks: int | None) -> None:
    """Raises ConfigError for a degree at which no stage of any model runs on so many ranks (None: on any number)."""
    degree = options.get("degree")
    if name not in POLICIES or not isinstance(degree, int):
        return
    known = {each for model in models.values() for stage in Stage for each in model.stage(stage).degrees}
    fitting = sorted(each for each in known if ranks is None or each <= ranks)
    if degree not in fitting:
        where = "" if ranks is None else f" on {ranks} rank{'s' * (ranks > 1)}"
        fix = f"use one of: {', '.join(map(str, fitting))}" if fitting else "there are too few ranks for any"
        raise ConfigError(f"policy {name}: no model runs at degree {degree}{where}; {fix}", field="degree")


def _classes(trial: Trial) -> list[str]:
    """Of the file, and of its trace if it has one."""
    traced = trial.requests() if isinstance(trial.workload.arrivals, Trace) else ()
    names = (*(entry.name for entry in trial.workload.classes), *(request.slo for request in traced))
    return list(dict.fromkeys(names))
