"""When a token's blocks may be reused: how wrong that is estimated to be, held against a limit for each quality.

Two estimates. By threshold: the summed relative change of what the first block adds, step by step, since the token was
last computed (Liu et al., arXiv 2411.19108, sum likewise). Learned: for each span of blocks a log-linear predictor of
how far the span's own output strays from its forecast, times how far the step goes, which is what an error counts; from
that sum, the time since and the time itself (`reuse_fit` fits it, for the default number of steps).

A checkpoint's folder may hold `reuse.json` with the limits and predictors of its qualities; else the threshold serves
with limits in the range that public caches use for large models.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from sfumato.core.values import Value
from sfumato.errors import CheckpointError
from sfumato.models.family import Quality

FILE = "reuse.json"
FEATURES = 4
LEAST = 1e-4  # keeps the logarithms of what did not change finite


class Rule(Value, frozen=True, kw_only=True):
    """Reuse where the estimate is below `limit`.

    `weights` are those of the predictor, FEATURES for each span of blocks; none: by threshold, all blocks in one span.
    With `patches` each token is judged by itself, and a request keeps the keys and values of all blocks for those that
    are recomputed beside it; without, all tokens of a request are reused or none.
    """

    limit: float
    weights: tuple[tuple[float, ...], ...] = ()
    patches: bool = True

    @property
    def spans(self) -> int:
        """Into how many spans the blocks after the first are divided."""
        return len(self.weights) or 1

    def estimate(self, moved: Tensor, gap: Tensor, time: float) -> Tensor:
        """How wrong reuse would be [spans, tokens], as a share; see `features`."""
        if not self.weights:
            return moved
        weights = torch.tensor(self.weights[: len(moved)], dtype=moved.dtype, device=moved.device)
        return (features(moved, gap, time) * weights[:, None]).sum(-1).exp()


class Habits(Value, frozen=True, kw_only=True):
    """The file: the rule of each quality, and the part id of the weights that they were fitted on."""

    fitted_on: str = ""
    rules: dict[Quality, Rule]


UNFITTED = Habits(rules={"high": Rule(limit=0.06, patches=False), "fast": Rule(limit=0.15, patches=False)})


def features(moved: Tensor, gap: Tensor, time: float) -> Tensor:
    """What the predictor reads [spans, tokens, FEATURES].

    `moved` and `gap` [spans, tokens]: the summed relative change of what the first block adds, and the time (1 at the
    start of the schedule, 0 at its end) since the token was computed; `time` is that of the next step.
    """
    near = torch.full_like(gap, time)
    logs = [(values + LEAST).log() for values in (moved, gap, near)]
    return torch.stack([*logs, torch.ones_like(gap)], dim=-1)


def read_habits(folder: Path) -> Habits:
    """Those of a checkpoint, else UNFITTED. CheckpointError for a file that is not one of them."""
    path = folder / FILE
    if not path.is_file():
        return UNFITTED
    try:
        habits = msgspec.json.decode(path.read_bytes(), type=Habits)
    except msgspec.DecodeError as error:
        raise _unfit(path, str(error)) from error
    if any(len(span) != FEATURES for rule in habits.rules.values() for span in rule.weights):
        raise _unfit(path, f"a predictor has {FEATURES} weights for each span")
    if len({len(rule.weights) for rule in habits.rules.values() if rule.weights}) > 1:
        raise _unfit(path, "its predictors have different spans")
    return habits


def spans_of(rules: Mapping[Quality, Rule], layers: int) -> list[range]:
    """The spans into which the rules divide the layers 1, 2, ... `layers` - 1, as even as they go; layers > 1."""
    count = min(max((rule.spans for rule in rules.values()), default=1), layers - 1)
    cuts = [1 + (layers - 1) * i // count for i in range(count + 1)]
    return [range(begin, end) for begin, end in pairwise(cuts)]


def _unfit(path: Path, reason: str) -> CheckpointError:
    fix = "fit it anew with python -m sfumato.models.reuse_fit, or remove it"
    return CheckpointError(f"model: {path} cannot be used ({reason}); {fix}", field="model")
