"""Who goes first: kept work by urgency, but for text whose requests could then share steps; who joins; what is left."""

from __future__ import annotations

import numpy as np

from sfumato.core.values import Stage
from sfumato.core.view import View
from sfumato.policies.sfumato.keep import USABLE
from sfumato.policies.sfumato.outlook import CODES, Outlooks
from sfumato.policies.sfumato.paces import Ints


def by_urgency(outlooks: Outlooks, places: Ints) -> list[int]:
    """The least laxity first."""
    if len(places) == 1:
        return [int(places[0])]
    start_by, priority = outlooks.start_by[places], outlooks.priority[places]
    urgent = np.lexsort((-priority, start_by)) if priority.any() else np.argsort(start_by, kind="stable")
    found: list[int] = places[urgent].tolist()
    return found


def in_turn(outlooks: Outlooks, view: View, family: Ints, places: Ints, free: int) -> list[int]:
    """Kept work by urgency; but where ranks are short, text is encoded first whose request could then share steps
    that wait, as long as what it does not share leaves each of them what it is kept by. `family` is by kind.

    While it waited for its turn, there was nobody to share steps with (one GPU of mixed sizes: up to 6 points).
    """
    order = by_urgency(outlooks, places)
    if len(order) <= free:
        return order
    stage, kind = outlooks.stage[order], outlooks.kind[order]
    encodes = stage == CODES[Stage.ENCODE]
    joinable = encodes & np.isin(family[kind], family[kind[stage == CODES[Stage.DIFFUSE]]])
    if not joinable.any():
        return order
    spare = outlooks.start_by[order] - view.now - (1.0 - USABLE) * (outlooks.deadline[order] - view.now)
    laxity = float(spare[~encodes].min())
    first = []
    for place in np.array(order)[joinable].tolist():
        laxity -= float(outlooks.ends_s[place])
        if laxity >= 0.0 and view.models[outlooks.jobs[place].request.model].diffuse.max_batch > 1:
            first.append(place)
    return list(dict.fromkeys((*first, *order)))


def joining(outlooks: Outlooks, places: Ints) -> list[int]:
    """Who is asked to share a chunk: whoever can still be in time before all others, the least work first.

    Late work is the most urgent of all: asked by urgency, it took the places (one GPU of mixed sizes: up to 4 points).
    And who has less left is sooner out of the way of the others (latency there: -10 to -40%).
    """
    found: list[int] = places[np.lexsort((outlooks.work[places], outlooks.hopeless[places]))].tolist()
    return found


def left_over(outlooks: Outlooks, places: Ints, now: float, aging: float) -> list[int]:
    """Given-up work (it could still make it), then late work and best effort: least left first, but aging."""
    if not len(places):
        return []
    hopeless = outlooks.hopeless[places]
    deadline = outlooks.deadline[places]
    since = np.where(np.isinf(deadline), outlooks.arrived[places], deadline)
    aged_s = aging * np.maximum(0.0, now - since)
    left = np.where(hopeless, outlooks.fastest_s[places] - aged_s, outlooks.work[places])
    found: list[int] = places[np.lexsort((left, hopeless))].tolist()
    return found
