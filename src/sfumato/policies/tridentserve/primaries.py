"""The free primaries, and what each could do for who waits: the columns of the integer programme (C0, rewards of C3).

`dispatch` says how a column is worth what, and which choice is the best.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import NamedTuple

from sfumato.core.values import Group, Job, Rank, Stage
from sfumato.core.view import View
from sfumato.policies.tridentserve.dispatch import PREFERENCE, Column, Entry, Room, worth
from sfumato.policies.tridentserve.kinds import Kind, Kinds
from sfumato.policies.tridentserve.placement import Duties, Post


class Site(NamedTuple):
    """Free primaries that are alike: what they host, on which device, how much memory, which models are loaded."""

    duties: Duties
    device: str
    memory: int
    loaded: tuple[str, ...]


class Primaries:
    """Sites, and their free ranks by node."""

    def __init__(
        self, view: View, kinds: Kinds, posts: Mapping[Rank, Post], free: Sequence[Rank], efficiency: float
    ) -> None:
        self._view, self._kinds, self._efficiency = view, kinds, efficiency
        found: dict[Site, dict[str, list[Rank]]] = {}
        for rank in free:
            site = self._site(rank, posts[rank].duties)
            if site is not None:
                found.setdefault(site, {}).setdefault(view.ranks[rank].node, []).append(rank)
        self._sites, self._nodes = list(found), list(found.values())
        self._more_to_come = len(free) < len(posts)  # ranks at work, or given work at this very event

    def columns(self, entries: Sequence[Entry]) -> list[Column]:
        """What may be chosen."""
        return [column for place, entry in enumerate(entries) for column in self._of(place, entry)]

    def rooms(self, columns: Sequence[Column]) -> list[Room]:
        """C2: how many groups the nodes of each site have room for, by degree."""
        return [
            Room(site=number, degree=k, groups=sum(len(ranks) // k for ranks in nodes.values()))
            for number, nodes in enumerate(self._nodes)
            for k in sorted({column.degree for column in columns if column.site == number})
        ]

    def group(self, job: Job, column: Column, free: Sequence[Rank]) -> Group:
        """Of what is left `free`: in the fullest node that has room, own ranks first; empty if there is none."""
        home = job.home or ()
        left = ([rank for rank in ranks if rank in free] for ranks in self._nodes[column.site].values())
        nodes = [ranks for ranks in left if len(ranks) >= column.degree]
        if not nodes:
            return ()
        ranks = min(nodes, key=lambda ranks: (not set(home) & set(ranks), len(ranks), ranks))
        return tuple(sorted(sorted(ranks, key=lambda rank: (rank not in home, rank))[: column.degree]))

    def _of(self, place: int, entry: Entry) -> list[Column]:
        """C0 and the rewards of C3."""
        strict = list(self._candidates(place, entry, swap=False))
        found = strict or list(self._candidates(place, entry, swap=True))
        timely = [(column, s) for column, s, efficient in found if efficient]
        if not any(self._on_time(entry, seconds) for _, seconds in timely):
            rescue = [(c, s) for c, s, _ in found if self._on_time(entry, s)]
            timely += sorted(rescue, key=lambda pair: pair[0].degree)[:1]
            if not rescue and self._more_to_come and self._could(entry):
                return []
        return [column for column, _ in timely]

    def _candidates(self, place: int, entry: Entry, *, swap: bool) -> Iterator[tuple[Column, float, bool]]:
        """(column, seconds to the end, whether it is efficient); `swap`: weights of other stages may leave."""
        lead, model = entry.jobs[0], entry.jobs[0].request.model
        for number, site in enumerate(self._sites):
            letters = dict(site.duties).get(model, "")
            if "D" not in letters or (lead.stage is Stage.ENCODE and "E" not in letters):
                continue
            kind = self._kinds.of(lead, site.device)
            parts = [
                self._kinds.parts(name, "D" if swap else own) for name, own in site.duties if not swap or name == model
            ]
            spare = site.memory - sum({p: s for some in parts for p, s in some.items()}.values())
            wide = max(map(len, self._nodes[number].values()))
            fitting = [k for k in kind.step_s if k <= wide and len(entry.jobs) * kind.room("D", k) <= spare]
            for k in fitting if len(entry.jobs) == 1 else fitting[:1]:
                seconds = self._seconds(entry, kind, number, k)
                value = sum(worth(job, self._view.now + seconds, self._view.now, entry.alone_s) for job in entry.jobs)
                column = Column(entry=place, site=number, degree=k, worth=value + k - PREFERENCE[letters])
                efficient = kind.efficient[k] / kind.efficient[fitting[0]] >= self._efficiency
                yield column, seconds, efficient

    def _seconds(self, entry: Entry, kind: Kind, number: int, degree: int) -> float:
        """From now to the end: load, encode, steps, decode."""
        lead, jobs, site = entry.jobs[0], entry.jobs, self._sites[number]
        parts = {} if lead.request.model in site.loaded else self._kinds.parts(lead.request.model, "D")
        load_s = max((self._view.costs.load_s(part, size, site.device) for part, size in parts.items()), default=0.0)
        encode_s = sum(kind.encode_s + kind.start_s for job in jobs if job.stage is Stage.ENCODE)
        step_s = kind.step_s[degree]
        if len(jobs) > 1:
            rank = next(iter(self._nodes[number].values()))[0]
            step_s = self._view.unit_s(lead, Stage.DIFFUSE, degree=degree, batch=len(jobs), rank=rank)
        steps = lead.steps - (lead.done if lead.stage is Stage.DIFFUSE else 0)
        return max(load_s, encode_s) + steps * step_s + kind.decode_s + 2 * kind.start_s

    def _site(self, rank: Rank, duties: Duties) -> Site | None:
        models = [model for model, letters in duties if "D" in letters]
        if not models:
            return None
        resident = self._view.resident(rank)
        loaded = tuple(m for m in models if all(part in resident for part in self._kinds.parts(m, "D")))
        info = self._view.ranks[rank]
        return Site(duties=duties, device=info.device, memory=info.memory_bytes, loaded=loaded)

    def _on_time(self, entry: Entry, seconds: float) -> bool:
        return any(self._view.now + seconds <= (job.request.deadline or -inf) for job in entry.jobs)

    def _could(self, entry: Entry) -> bool:
        """Whether one of them would be on time with all the ranks it likes."""
        return any(self._kinds.of(job, self._view.device).makes(job, self._view.now) for job in entry.jobs)
