"""Nanoseconds of a cached `ProfileCosts.unit_s`, what a planner asks most. Run: python bench/cost_lookup.py"""

from __future__ import annotations

import timeit

from sfumato.core.cost import Work
from sfumato.core.values import Shape, Stage
from sfumato.cost import Point, Profile, ProfileCosts

CALLS = 200_000


def main() -> None:
    points = tuple(Point(stage=stage, height=64, width=64, seconds=0.1) for stage in Stage)
    costs = ProfileCosts([Profile(model="m", device="cpu", kind="measured", source="bench", points=points)])
    for batch in (1, 4):
        shapes = (Shape(height=64, width=64),) * batch
        work = Work(model="m", stage=Stage.DIFFUSE, shapes=shapes)
        equal = Work(model="m", stage=Stage.DIFFUSE, shapes=tuple(Shape(height=64, width=64) for _ in range(batch)))
        costs.observe(work, 0, 1, 0.2)
        for name, asked in (("same object", work), ("equal object", equal)):
            best = min(timeit.repeat(lambda asked=asked: costs.unit_s(asked), number=CALLS, repeat=7))  # type: ignore[misc]
            print(f"batch {batch}, {name}: {best / CALLS * 1e9:.0f} ns")


if __name__ == "__main__":
    main()
