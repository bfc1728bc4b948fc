"""`bucketed`: the ranks are split into buckets of one degree each; a request queues, first come, in that of its size.

TridentServe's second baseline ("bucketed pipeline-level": GPU buckets by degree, FIFO inside; arXiv 2510.02838). Its
split is not published. Decided here: unless `buckets` says otherwise, the widest bucket takes half of the ranks (the
largest power of two) as one group, the next half of the rest, and so on to ranks of degree one; a request goes to the
bucket of its degree (`sizes`), else to the next narrower, else to any that can run it. The split is by the order of
the ranks that are up, so that it closes over a lost one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from sfumato.core.policy import Plan
from sfumato.core.values import Chunk, Group, Job, Stage
from sfumato.core.view import View
from sfumato.policies.sizes import Rule, degree_for
from sfumato.policies.whole import usable, whole_stages


class Bucket(NamedTuple):
    """Ranks whose groups all have one width."""

    degree: int
    ranks: Group


class Bucketed:
    """`bucketed` in the table of policies."""

    name = "bucketed"
    work_conserving = False  # a bucket idles while another has a queue

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """`rule`: degrees by size; `buckets`: (degree, ranks) from the lowest rank on, the rest at degree one."""

        rule: Rule = "rssp"
        buckets: tuple[tuple[int, int], ...] = ()

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or self.Options()

    def plan(self, view: View) -> Plan:
        if not view.free:
            return Plan()
        buckets = split(usable(view), self._options.buckets)
        queues: dict[Bucket, list[Job]] = {bucket: [] for bucket in buckets}
        able: dict[tuple[str, Stage], list[Bucket]] = {}  # of all jobs that are bound to no rank
        for job in view.ready():
            if job.done > job.saved:
                there = _able(view, job, buckets)
            else:
                kind = job.request.model, job.stage
                there = able[kind] = able.get(kind) or _able(view, job, buckets)
            wanted = degree_for(job.shape, self._options.rule)
            queues[next((bucket for bucket in there if bucket.degree <= wanted), there[-1])].append(job)
        launches: list[Chunk] = []
        for bucket, queue in queues.items():
            launches += whole_stages(view, queue, bucket.ranks, partial(_degree, bucket), overtake=False)
        return Plan(launches=tuple(launches))


def split(ranks: Sequence[int], wanted: Sequence[tuple[int, int]] = ()) -> list[Bucket]:
    """The buckets, the widest first; a wanted one that the ranks left cannot fill is as wide as they allow."""
    left, buckets = list(ranks), []
    for degree, count in wanted or _halves(len(left)):
        mine, left = left[:count], left[count:]
        if mine:
            buckets.append(Bucket(min(degree, len(mine)), tuple(mine)))
    if left:
        buckets.append(Bucket(1, tuple(left)))
    return sorted(buckets, key=lambda bucket: (-bucket.degree, bucket.ranks))


def _halves(ranks: int) -> list[tuple[int, int]]:
    """One group of half of the ranks, one of half of the rest, down to pairs."""
    found = []
    while ranks >= 4:
        width = 1 << (ranks // 2).bit_length() - 1
        found.append((width, width))
        ranks -= width
    return found


def _degree(bucket: Bucket, _: Job) -> int:
    return bucket.degree


def _able(view: View, job: Job, buckets: list[Bucket]) -> list[Bucket]:
    """The buckets with ranks enough that can run a job; all, if none can."""
    least = min(view.models[job.request.model].stage(job.stage).degrees)
    return [b for b in buckets if sum(view.can_run(job, rank) for rank in b.ranks) >= least] or buckets
