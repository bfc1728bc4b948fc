"""The Resource-Aware Dispatcher, step 1: which requests start their steps now, on which kind of rank, at which degree.

An integer programme (TridentServe, section on dispatch): x of (request, type of primary, degree); the most reward less
communication; each request once (C1), no more ranks of a type than are free (C2), only efficient degrees that the
memory allows (C0). Whether a request is on time in a column is known beforehand, so that C3's flag D is its reward.

Decided here. C2 is written by degree: groups of k or wider, counted in k, are no more than the nodes have room for,
which is exact for degrees that divide each other, as a group stays in its node. Rewards: 1000 for each request on time
and up to 100 for the share of its window that is gone; else, as in the public code, 100 that grow by 100 with each
time alone that it is late, here to 500 at most, so that nobody late displaces who can be on time; best effort half of
that. A rank used counts 1 (the code's slack), a step down in preference of replica -1. A degree below the efficiency
counts where no efficient one is on time. Who misses with the ranks that are free, but not once a running chunk has
ended, is not started as late yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from sfumato.core.values import Job

ON_TIME, AGING = 1000.0, 100.0
LATE, LATE_MOST = 100.0, 500.0
NODES = 200  # of branch and bound; most programmes end at the first
PREFERENCE = {"EDC": 0, "DC": 1, "ED": 2, "D": 3}  # Q, by what a primary hosts


class Entry(NamedTuple):
    """Requests that run together, with the seconds of what is left of one of them alone."""

    jobs: tuple[Job, ...]
    alone_s: float


class Column(NamedTuple):
    """x: an entry on `degree` ranks of the site of this number, and its worth."""

    entry: int
    site: int
    degree: int
    worth: float


class Room(NamedTuple):
    """At one site, groups of `degree` (or of wider ones, by their multiple) that the free ranks can form."""

    site: int
    degree: int
    groups: int


def worth(job: Job, ends_at: float, now: float, alone_s: float) -> float:
    """W of a request that ends at a time."""
    request = job.request
    age_s = now - request.arrived_at
    if request.deadline is None:
        return min(LATE_MOST, LATE * (1 + age_s / max(alone_s, 1e-9))) / 2
    window_s = max(request.deadline - request.arrived_at, 1e-9)
    if ends_at <= request.deadline:
        return ON_TIME + AGING * min(1.0, age_s / window_s)
    return min(LATE_MOST, LATE * (1 + (ends_at - request.deadline) / max(alone_s, 1e-9)))


def solved(columns: Sequence[Column], rooms: Sequence[Room]) -> list[Column]:
    """The best choice. HiGHS on one thread, bounded by nodes; greedy where that found nothing in them."""
    useful = _pruned([column for column in columns if column.worth > 0], rooms)
    best = _unrivalled(useful, rooms)
    if best is not None:
        return best
    programme = _constraint(useful, rooms)
    found = milp(
        -np.array([column.worth for column in useful]),
        integrality=np.ones(len(useful)),
        bounds=Bounds(0, 1),
        constraints=programme,
        options={"node_limit": NODES, "mip_rel_gap": 0.0},
    )
    if found.x is None:
        return greedy(useful, rooms)
    return [column for column, x in zip(useful, found.x, strict=True) if x > 0.5]


def greedy(columns: Sequence[Column], rooms: Sequence[Room]) -> list[Column]:
    """By worth, whoever still fits."""
    left = {(room.site, room.degree): float(room.groups) for room in rooms}
    chosen: dict[int, Column] = {}
    for column in sorted(columns, key=lambda c: (-c.worth, c)):
        mine = [(site, k) for site, k in left if site == column.site and k <= column.degree]
        if column.entry not in chosen and mine and all(left[at] >= column.degree / at[1] - 1e-9 for at in mine):
            chosen[column.entry] = column
            for at in mine:
                left[at] -= column.degree / at[1]
    return [chosen[entry] for entry in sorted(chosen)]


def _pruned(columns: Sequence[Column], rooms: Sequence[Room]) -> list[Column]:
    """Of each site and degree as many columns as entries can start at all: the others cannot be in a better choice."""
    narrow = {room.site: room for room in sorted(rooms, key=lambda room: -room.degree)}
    most = sum(room.groups for room in narrow.values())
    kept: dict[tuple[int, int], int] = {}
    found = []
    for column in sorted(columns, key=lambda c: (-c.worth, c)):
        at = column.site, column.degree
        if kept.get(at, 0) < most:
            kept[at] = kept.get(at, 0) + 1
            found.append(column)
    return sorted(found)


def _unrivalled(columns: Sequence[Column], rooms: Sequence[Room]) -> list[Column] | None:
    """Everybody's best column, if all of them fit together."""
    best: dict[int, Column] = {}
    for column in columns:
        if column.worth > best.get(column.entry, column._replace(worth=-inf)).worth:
            best[column.entry] = column
    chosen = list(best.values())
    return chosen if len(greedy(chosen, rooms)) == len(chosen) else None


def _constraint(columns: Sequence[Column], rooms: Sequence[Room]) -> LinearConstraint:
    entries = sorted({column.entry for column in columns})
    row = {entry: place for place, entry in enumerate(entries)}
    cells = [(row[column.entry], place, 1.0) for place, column in enumerate(columns)]
    for number, room in enumerate(rooms, len(entries)):
        cells += [
            (number, place, column.degree / room.degree)
            for place, column in enumerate(columns)
            if column.site == room.site and column.degree >= room.degree
        ]
    rows, places, values = zip(*cells, strict=True)
    matrix = coo_array((values, (rows, places)), shape=(len(entries) + len(rooms), len(columns))).tocsr()
    limits = [*(1.0 for _ in entries), *(float(room.groups) for room in rooms)]
    return LinearConstraint(matrix, -np.inf, np.array(limits))
