"""`mixed`: batches of unlike sizes in order of arrival.

PatchedServe's second baseline (arXiv 2501.09253, published as MixFusion): its mixed-size batches under FCFS. Where a
stage does not pack, a batch is of equals, led by the earliest arrival. Decided here: decode and encode, which are
short, go before steps, so that a new request joins the batch at the next boundary; a request stays in it until its
steps are done, because those that arrived before stand before it in line.
"""

from __future__ import annotations

from collections.abc import Sequence

from sfumato.core.values import Job, Rank, Stage
from sfumato.core.view import View
from sfumato.policies.batches import filled
from sfumato.policies.turns import Turns


class Mixed(Turns):
    """`mixed` in the table of policies."""

    name = "mixed"

    def batch(self, view: View, rank: Rank, jobs: Sequence[Job]) -> list[Job]:  # noqa: ARG002 - all ranks alike
        order = sorted(jobs, key=lambda job: (SHORT_FIRST[job.stage], job.request.arrived_at, job.id))
        return filled(view, order[0], order, packed=True)


SHORT_FIRST = {Stage.DECODE: 0, Stage.ENCODE: 1, Stage.DIFFUSE: 2}
