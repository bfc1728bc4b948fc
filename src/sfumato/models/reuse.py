"""Reuse between steps: which tokens of which requests the blocks compute anew, and what stands in for the others.

The first block is always computed. What it adds tells for each token how far the rest would change since it was last
computed (`reuse_rules`); tokens below the limit keep what the rest added then, the others run through it, attending to
the kept keys and values of those that do not (`reuse_kept`). A token is the patch: 16x16 pixels in the families here.

Rules: both sides of the guidance compute the same tokens of the picture, as guidance multiplies what differs between
them. The decision is agreed in the group before anything depends on it: each rank says what it would compute, and
everyone computes what anyone said; a rank without a request's past says all. A collective more a step, and two of the
tokens' size. Who asked for exact is computed whole, in a batch with others too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.models.family import Quality
from sfumato.models.progress import Pass
from sfumato.models.reuse_kept import Heads, Kept, Reader, Recall
from sfumato.models.reuse_rules import Rule, spans_of
from sfumato.models.sequence import Pack

# Above this share of a request's tokens computing the others too costs less than choosing, and errs less.
MOST = 0.75

Streams = tuple[Tensor, ...]
"""The own slices [1, s, D] of each stream of a pack."""
Layer = Callable[[Streams], Streams]
Pick = Callable[[int, Sequence[Tensor]], list[Tensor]]
"""Of a stream's [1, tokens, ...] of each member those of the tokens that a pack holds."""
Layout = Callable[[Pack, Pick], list[Layer]]
"""All blocks of a model, as they run over the tokens of a pack."""


@dataclass(slots=True, eq=False)
class Member:
    """One pass in a forward. `kept` is None for one that has no past here; `rule` None is exact."""

    one: Pass
    rule: Rule | None
    kept: Kept | None
    heads: Heads | None = None
    moved: Tensor = field(default_factory=lambda: torch.empty(0))  # [spans, tokens], if nothing were computed now
    need: Tensor = field(default_factory=lambda: torch.empty(0))  # [spans, tokens] what is computed


class Run(NamedTuple):
    """Neighbouring spans that compute the same tokens, each a range of layers."""

    spans: list[int]
    layers: list[range]


class Reuse:
    """The decision and its execution for one forward of some passes."""

    def __init__(self, passes: Sequence[Pass], rules: Mapping[Quality, Rule], model: str) -> None:
        self.rules = rules
        self.model = model
        self.members = [self._member(one) for one in passes]

    def _member(self, one: Pass) -> Member:
        kept = one.state.reuse.get(one.negative)
        known = kept is not None and kept.done == one.state.done and kept.model == self.model
        return Member(one, self.rules.get(one.state.task.payload.quality), kept if known else None)

    def through(self, pack: Pack, streams: Streams, layout: Layout) -> Streams:
        """The own slices after all blocks of the model, from those before the first."""
        place = pack.size, pack.rank
        alone = Pack(*pack.streams, group=pack.group)  # whole tokens are shared in the group, not across the passes
        for member in self.members:
            reusable = member.rule is not None and member.rule.patches
            old = member.kept.heads if member.kept else None
            member.heads = (old if old and old.place == place else Heads(place=place)) if reusable else None
        layers = layout(alone, lambda _stream, parts: list(parts))
        after = layers[0](streams)
        if len(layers) == 1:
            return after
        tokens = _whole(alone, after)
        first = _whole(alone, tuple(new - old for new, old in zip(after, streams, strict=True)))
        spans = spans_of(self.rules, len(layers))
        self._decide(pack, first, spans)
        added: list[list[Tensor]] = []
        for run in self._runs(spans):
            tokens, new = self._run(alone, layout, tokens, run)
            added += new
        self._keep(first, added)
        parts = [whole[None].split(_lengths(pack, i), dim=1) for i, whole in enumerate(tokens)]
        return tuple(pack.shard(stream, i) for i, stream in enumerate(zip(*parts, strict=True)))

    # The decision.

    def _decide(self, pack: Pack, first: list[Tensor], spans: list[range]) -> None:
        """Sets what each member computes: `need`."""
        for member, now in zip(self.members, first, strict=True):
            member.need = self._wish(member, now, len(spans))
        self._join([_lengths(pack, i)[-1] for i in range(pack.members)])
        lacks = [self._lacks(member, spans) for member in self.members]
        said = zip(self.members, lacks, strict=True)
        flags = torch.cat([torch.cat([member.need, lack[:, None]], dim=1).flatten() for member, lack in said])
        group = pack.across or pack.group
        if group is not None:
            flags = group.all_gather(flags.to(torch.uint8)).amax(0) > 0
        sizes = [member.need.numel() + len(spans) for member in self.members]
        for member, agreed in zip(self.members, flags.split(sizes), strict=True):
            need, lack = agreed.unflatten(0, (len(spans), -1)).tensor_split([-1], dim=1)
            share = need.float().mean(dim=1, keepdim=True)
            member.need = need | ((share > 0) & lack) | (share > MOST)

    def _wish(self, member: Member, now: Tensor, spans: int) -> Tensor:
        """What a member should compute by its rule [spans, tokens]."""
        kept, rule = member.kept, member.rule
        if kept is None or rule is None:
            member.moved = now.new_zeros(spans, len(now), dtype=torch.float32)
            return torch.ones(spans, len(now), dtype=torch.bool, device=now.device)
        change = (now - kept.first).float().norm(dim=-1) / kept.first.float().norm(dim=-1).clamp_min(1e-12)
        member.moved = kept.moved + change
        time = _time(member.one)
        estimate = rule.estimate(member.moved, kept.at - time, time)
        if not rule.patches:
            estimate = estimate.mean(dim=1, keepdim=True).expand_as(estimate)
        return ~(estimate < rule.limit)  # what is not a number is computed

    def _join(self, last: list[int]) -> None:
        """Passes of one request compute the same of the last stream, the picture's: `last` tokens of each member."""
        for i, member in enumerate(self.members):
            for j in range(i):
                other = self.members[j]
                if other.one.state is member.one.state:
                    both = member.need[:, -last[i] :] | other.need[:, -last[j] :]
                    member.need[:, -last[i] :] = other.need[:, -last[j] :] = both

    def _lacks(self, member: Member, spans: list[range]) -> Tensor:
        """In which spans a member cannot compute only some of its tokens."""
        held = member.heads.layers if member.heads else {}
        lacks = [not all(layer in held for layer in span) for span in spans]
        return torch.tensor(lacks, device=member.need.device)

    def _runs(self, spans: list[range]) -> list[Run]:
        runs: list[Run] = []
        for i, span in enumerate(spans):
            if runs and all(torch.equal(member.need[i - 1], member.need[i]) for member in self.members):
                runs[-1].spans.append(i)
                runs[-1].layers.append(span)
            else:
                runs.append(Run([i], [span]))
        return runs

    # Its execution.

    def _run(
        self, alone: Pack, layout: Layout, tokens: list[Tensor], run: Run
    ) -> tuple[list[Tensor], list[list[Tensor]]]:
        """All tokens [tokens, D] of each member after the run, and what each span of it added to those computed."""
        needs = [member.need[run.spans[0]] for member in self.members]
        chosen = [None if need.all() else need.nonzero()[:, 0] for need in needs]
        computed = [x if index is None else x[index] for x, index in zip(tokens, chosen, strict=True)]
        marks = [computed]
        if any(len(x) for x in computed):
            marks += self._compute(alone, layout, computed, chosen, run)
        else:
            marks += [computed] * len(run.spans)
        added = [[new - old for old, new in zip(*pair, strict=True)] for pair in pairwise(marks)]
        ends = zip(self.members, tokens, chosen, marks[-1], strict=True)
        return [_after(member, run, whole, index, end) for member, whole, index, end in ends], added

    def _compute(
        self, alone: Pack, layout: Layout, computed: list[Tensor], chosen: list[Tensor | None], run: Run
    ) -> list[list[Tensor]]:
        """The chosen tokens of each member after each span of the run."""
        readers = [
            Reader(tokens=member.need.shape[1], chosen=index, heads=member.heads)
            for member, index in zip(self.members, chosen, strict=True)
        ]
        cuts = [_cut(alone, i, index) for i, index in enumerate(chosen)]
        lengths = [
            _lengths(alone, i) if index is None else [len(part) for part in cuts[i]] for i, index in enumerate(chosen)
        ]
        recall = Recall(readers)
        active = Pack(*zip(*lengths, strict=True), group=alone.group, segments=recall)

        def pick(stream: int, parts: Sequence[Tensor]) -> list[Tensor]:
            return [x[:, cut[stream]] if cut else x for x, cut in zip(parts, cuts, strict=True)]

        parts = [x[None].split(each, dim=1) for x, each in zip(computed, lengths, strict=True)]
        streams = tuple(active.shard(stream, i) for i, stream in enumerate(zip(*parts, strict=True)))
        layers, marks = layout(active, pick), []
        for span in run.layers:
            for layer in span:
                recall.layer = layer
                streams = layers[layer](streams)
            marks.append(_whole(active, streams))
        return marks

    def _keep(self, first: list[Tensor], added: list[list[Tensor]]) -> None:
        """For the next step; `added` holds what each span added to the computed tokens of each member."""
        for i, member in enumerate(self.members):
            if member.rule is None:
                continue
            state, time, spans = member.one.state, _time(member.one), [span[i] for span in added]
            if member.kept is None:
                new = torch.stack(spans)
                slope, at = torch.zeros_like(new), torch.full_like(member.moved, time)
            else:
                new, slope, at = member.kept.renewed(member.need, spans, time)
            passes = sum(other.one.state is state for other in self.members)
            state.spared += (1 - member.need.float().mean().item()) / passes
            state.reuse[member.one.negative] = Kept(
                model=self.model,
                done=state.done + 1,
                first=first[i],
                added=new,
                slope=slope,
                at=at,
                moved=member.moved.masked_fill(member.need, 0.0),
                heads=member.heads or Heads(place=(0, 0)),
            )


def _time(one: Pass) -> float:
    """Of the next step: 1 at the start of the schedule, 0 at its end."""
    return float(one.state.time) / 1000


def _lengths(pack: Pack, member: int) -> list[int]:
    """A member's tokens in each stream."""
    return [lengths[member] for lengths in pack.streams]


def _whole(pack: Pack, own: Streams) -> list[Tensor]:
    """All tokens [tokens, D] of each member, stream by stream, from the slices of all ranks."""
    streams = [pack.gather(x, i) for i, x in enumerate(own) if x.shape[1]]
    return [torch.cat(parts, dim=1)[0] for parts in zip(*streams, strict=True)]


def _cut(pack: Pack, member: int, chosen: Tensor | None) -> list[Tensor]:
    """Chosen tokens of a member as places in each of its streams; empty for all of them."""
    if chosen is None:
        return []
    ends = [0, *accumulate(_lengths(pack, member))]
    return [chosen[(chosen >= begin) & (chosen < end)] - begin for begin, end in pairwise(ends)]


def _after(member: Member, run: Run, tokens: Tensor, chosen: Tensor | None, end: Tensor) -> Tensor:
    """All tokens after a run: those computed as they came out, the others with what the run added to them before."""
    if chosen is None or member.kept is None:
        return end
    after = tokens + member.kept.forecast(run.spans, _time(member.one)).sum(0)
    after[chosen] = end
    return after
