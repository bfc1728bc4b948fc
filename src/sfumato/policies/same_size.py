"""`same_size`: batches of one size, formed anew between steps, in which new arrivals come first.

PatchedServe's baseline (arXiv 2501.09253, published as MixFusion): "NIRVANA with ORCA batching", which batches equal
shapes only and prefers new arrivals; NIRVANA's reuse of old images is left out. Decided here: a request is new until
its first step, and of several new ones the last to arrive leads; the batch is filled with its size, new ones first,
then those under way in order of arrival; with nobody new the earliest arrival leads. Whoever is ready for decode goes
before all, since nothing is waiting for its steps any more.
"""

from __future__ import annotations

from collections.abc import Sequence

from sfumato.core.values import Job, Rank, Stage
from sfumato.core.view import View
from sfumato.policies.batches import filled
from sfumato.policies.turns import Turns


class SameSize(Turns):
    """`same_size` in the table of policies."""

    name = "same_size"

    def batch(self, view: View, rank: Rank, jobs: Sequence[Job]) -> list[Job]:  # noqa: ARG002 - all ranks alike
        order = sorted(jobs, key=_newest_first)
        return filled(view, order[0], order, packed=False)


def _newest_first(job: Job) -> tuple[int, float, str]:
    if job.stage is Stage.DECODE:
        return 0, job.request.arrived_at, job.id
    if job.stage is Stage.ENCODE or job.done == 0:
        return 1, -job.request.arrived_at, job.id
    return 2, job.request.arrived_at, job.id
