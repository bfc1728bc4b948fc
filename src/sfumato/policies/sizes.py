"""Degrees by class of size, as the baselines of two papers fix them for each resolution once and for all.

RSSP (TetriServe, arXiv 2510.01565, baseline of 6.1): FLUX.1-dev on H100, 1 rank for 256 and 512 px, 2 for 1024, 8 for
2048. RASP (GenServe, arXiv 2604.04335): videos, 1 for 256p, 2 for 480p, 4 for 720p. Decided here, the papers being
silent: a size between two classes belongs to the larger; the side of a picture that is not square is the root of its
area, a video's class is its shorter side; under RASP, pictures take one rank, and under RSSP a video counts by its
frame.
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Literal

from sfumato.core.values import Shape

Rule = Literal["rssp", "rasp"]
Classes = tuple[tuple[float, int], ...]  # (largest side in pixels, degree), ascending

RSSP: Classes = ((512, 1), (1024, 2), (inf, 8))
RASP: Classes = ((256, 1), (480, 2), (inf, 4))


def degree_for(shape: Shape, rule: Rule) -> int:
    """The degree of a class of size."""
    if rule == "rssp":
        return _of(RSSP, sqrt(shape.height * shape.width))
    return _of(RASP, min(shape.height, shape.width)) if shape.frames > 1 else 1


def _of(classes: Classes, side: float) -> int:
    return next(degree for largest, degree in classes if side <= largest)
