"""A truth that differs from what the planner believes, to see how much its decisions lean on correct costs."""

from __future__ import annotations

from sfumato.core.cost import Costs, Work


class Misjudged:
    """`costs`, but every unit takes 1 / `believed` of what they say: so the planner, who has them, is that far off."""

    def __init__(self, costs: Costs, believed: float) -> None:
        self._costs = costs
        self._believed = believed
        self.start_s = costs.start_s
        self.load_s = costs.load_s
        self.held_bytes = costs.held_bytes
        self.peak_bytes = costs.peak_bytes
        self.observe = costs.observe
        self.state = costs.state
        self.restore = costs.restore

    def unit_s(self, work: Work) -> float:
        return self._costs.unit_s(work) / self._believed
