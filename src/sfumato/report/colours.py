"""One hue a request, the same in every drawing; stages are tints of it. Colours carry meaning only beside a shape.

Hues are spread by the golden angle, so that requests next to each other in time are far apart in colour; as that comes
near itself again after 13, 21 and 34 requests, lightness varies as well.
"""

from __future__ import annotations

from colorsys import hls_to_rgb

from sfumato.core.values import JobState, Stage

Colour = tuple[float, float, float]

_GOLDEN = 0.618034
INK = "#22303c"
FAINT = "#c9d1d8"
MISSED = "#c62828"
MET = "#2e7d32"
# Okabe and Ito's palette: told apart by colour-blind readers as well.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b6b6b", "#000000")
STATES = {
    JobState.DONE: MET,
    JobState.LATE: "#e69f00",
    JobState.REJECTED: "#6b6b6b",
    JobState.CANCELLED: "#56b4e9",
    JobState.FAILED: MISSED,
}
_LIGHTNESS = {Stage.ENCODE: 0.84, Stage.DIFFUSE: 0.64, Stage.DECODE: 0.78}


def request_colour(place: int, stage: Stage = Stage.DIFFUSE) -> Colour:
    """The colour of the `place`-th request in a stage."""
    return hls_to_rgb((0.58 + place * _GOLDEN) % 1.0, _LIGHTNESS[stage] - 0.05 * (place // 5 % 3), 0.62)


def series_colour(place: int) -> str:
    """The colour of the `place`-th line of a chart."""
    return SERIES[place % len(SERIES)]
