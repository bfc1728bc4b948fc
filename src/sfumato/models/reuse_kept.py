"""What a request keeps of a step for the next ones: what its blocks added, and their keys and values.

Every rank of a group holds what was added for all tokens, the same bit for bit, so it outlives any change of the batch
or of the degree. Keys and values are those of all tokens with the heads that the rank computed (in a ring they are
gathered for it): after a change of its place in the group they are not used, and what needs them is computed whole.
Nothing of this is frozen: a request that moves to another rank computes its next step whole. That costs one step, and
makes the picture only more exact; carried along, it would be as many times the latent as the model is wider than it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sfumato.models.attention import Segments

Place = tuple[int, int]
"""The size of a group and the own rank in it."""


@dataclass(slots=True, eq=False, kw_only=True)
class Heads:
    """Keys and values [tokens, own heads, D] of each layer, as they were when each token was last computed."""

    place: Place
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


@dataclass(slots=True, eq=False, kw_only=True)
class Kept:
    """Of one pass of a request, as it was after `done` steps through the model named `model`.

    `first` [tokens, D] is what the first block added in the last step, `added` [spans, tokens, D] what each span did
    when the token was last computed there, and `slope` how that changed in time from the time before. It was at the
    time `at` [spans, tokens]; what the first block adds has changed since by `moved` [spans, tokens], relative, summed.
    """

    model: str
    done: int
    first: Tensor
    added: Tensor
    slope: Tensor
    at: Tensor
    moved: Tensor
    heads: Heads

    def forecast(self, spans: list[int], time: float) -> Tensor:
        """What the spans would add at `time` [spans, tokens, D], on the line through the last two times."""
        gap = (time - self.at[spans]).to(self.added.dtype)
        return self.added[spans] + self.slope[spans] * gap[..., None]

    def renewed(self, need: Tensor, spans: list[Tensor], time: float) -> tuple[Tensor, Tensor, Tensor]:
        """`added`, `slope` and `at` after the tokens `need` [spans, tokens] were computed, which added `spans`."""
        added, slope = self.added.clone(), self.slope.clone()
        for i, (computed, new) in enumerate(zip(need, spans, strict=True)):
            gap = (time - self.at[i, computed]).to(new.dtype)[:, None]
            line = (new - added[i, computed]) / gap
            slope[i, computed] = torch.where(gap == 0, slope[i, computed], line)  # some samplers take a time twice
            added[i, computed] = new
        return added, slope, self.at.masked_fill(need, time)


@dataclass(slots=True, eq=False, kw_only=True)
class Reader:
    """A member of a batch as attention sees it. `chosen` are its tokens that are computed, None: all of them.

    With `heads` its keys and values are kept there; who computes only some tokens has all others there.
    """

    tokens: int
    chosen: Tensor | None
    heads: Heads | None

    @property
    def queries(self) -> int:
        """How many tokens are computed."""
        return self.tokens if self.chosen is None else len(self.chosen)

    def recall(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of the member, from those of the chosen tokens."""
        if self.heads is None or (self.chosen is not None and not len(self.chosen)):
            return k, v
        if self.chosen is None:
            self.heads.layers[layer] = k.clone(), v.clone()  # a slice would hold on to those of the whole batch
            return k, v
        # in place, so also where the step then fails: they are only newer than what is said of them
        old_k, old_v = self.heads.layers[layer]
        return old_k.index_copy_(0, self.chosen, k), old_v.index_copy_(0, self.chosen, v)


class Recall(Segments):
    """Segments whose queries are the chosen tokens of each member and whose keys are all of that member's tokens."""

    def __init__(self, readers: Sequence[Reader]) -> None:
        queries = [reader.queries for reader in readers]
        super().__init__(queries, [reader.tokens if reader.queries else 0 for reader in readers])
        self._readers = readers
        self.layer: int | None = None  # which one attends next; None: one that is always computed whole

    @property
    def recalls(self) -> bool:
        return self.layer is not None

    def seen(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, from those [chosen tokens, own heads, D] of all members."""
        if self.layer is None:
            return k, v
        runs = zip(self._readers, k.split(self.queries), v.split(self.queries), strict=True)
        keys, values = zip(*(reader.recall(self.layer, *run) for reader, *run in runs), strict=True)
        return torch.cat(keys), torch.cat(values)
