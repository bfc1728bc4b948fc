"""Which settings of a model are measured: few, because the cost model draws curves between them.

Rules: the smallest, the default and the largest size and length always, within the model's offer; every stage at each
of them; batches of steps at the smallest, the default and the largest one, because what batching gains falls with the
size; passes as the default guidance takes them. Denoising comes first at each shape, so that a profile that was cut
short holds what matters.
"""

from __future__ import annotations

from sfumato.core.values import Shape, Stage, Value
from sfumato.errors import ConfigError
from sfumato.models.offer import Offer, Range


class Grid(Value, frozen=True, kw_only=True):
    """How closely to measure: sizes and lengths between the ends, batches, seconds to spend on a setting.

    `both` measures guided and unguided steps; otherwise the one that the default guidance takes.
    """

    sizes: int
    frames: int
    batches: tuple[int, ...]
    seconds: float
    both: bool = False


GRIDS = {
    "quick": Grid(sizes=3, frames=2, batches=(1, 2, 4), seconds=0.5),
    "full": Grid(sizes=5, frames=4, batches=(1, 2, 4, 8), seconds=4.0, both=True),
}


class Setting(Value, frozen=True, kw_only=True):
    """One point to measure."""

    stage: Stage
    shape: Shape
    degree: int = 1
    batch: int = 1
    guided: bool = False

    def __str__(self) -> str:
        extra = f" on {self.degree} ranks" if self.degree > 1 else ""
        many = f" ×{self.batch}" if self.batch > 1 else ""
        return f"{self.stage} {self.shape}{many}{' guided' if self.guided else ''}{extra}"


def grid(offer: Offer, density: str = "quick", ranks: int = 1) -> tuple[Setting, ...]:
    """The settings of a named grid for a model on so many ranks."""
    if density not in GRIDS:
        raise ConfigError(f"grid: there is no {density!r}; use one of: {', '.join(GRIDS)}", field="grid")
    chosen = GRIDS[density]
    shapes = shapes_of(offer, chosen)
    settings: dict[Setting, None] = {}
    for place, shape in enumerate(shapes):
        batched = place in (0, len(shapes) - 1) or shape == offer.default_shape or chosen.both
        batches = chosen.batches if batched else (1,)
        for stage in (Stage.DIFFUSE, Stage.DECODE, Stage.ENCODE):
            if stage is not Stage.ENCODE or shape == offer.default_shape:  # text: the same at any size
                for setting in _at(offer, chosen, stage, shape, batches if stage is not Stage.DECODE else (1,), ranks):
                    settings[setting] = None
    return tuple(settings)


def _at(offer: Offer, chosen: Grid, stage: Stage, shape: Shape, batches: tuple[int, ...], ranks: int) -> list[Setting]:
    spec = offer.spec.stage(stage)
    default = offer.guided(offer.default_guidance)
    passes = (default, not default) if chosen.both and not offer.distilled else (default,)
    return [
        Setting(stage=stage, shape=shape, degree=degree, batch=batch, guided=guided)
        for guided in (passes if stage is not Stage.DECODE else (False,))
        for degree in spec.degrees
        for batch in batches
        if degree <= ranks and batch <= spec.max_batch
    ]


def shapes_of(offer: Offer, chosen: Grid) -> tuple[Shape, ...]:
    """Sizes at the default length, and lengths at the default size, smallest first."""
    default = offer.default_shape
    sizes = spread(offer.sizes, chosen.sizes, min(default.height, default.width))
    squares = {
        Shape(height=side, width=side, frames=default.frames) for side in sizes if side * side <= offer.max_pixels
    }
    lengths = {
        Shape(height=default.height, width=default.width, frames=frames)
        for frames in spread(offer.frames, chosen.frames + 1, default.frames)
    }
    shapes = {default} | squares | lengths
    return tuple(sorted(shapes, key=lambda shape: (shape.height * shape.width * shape.frames, str(shape))))


def spread(numbers: Range, count: int, default: int) -> tuple[int, ...]:
    """About `count` of the offered numbers, evenly, with both ends and the default."""
    width = numbers.last - numbers.min
    even = {numbers.nearest(numbers.min + width * i / max(1, count - 1)) for i in range(count)}
    if len(even) > 2 and default not in even:  # the default stands in for its nearest neighbour that is no end
        even.discard(min(even - {numbers.min, numbers.last}, key=lambda number: (abs(number - default), number)))
    return tuple(sorted(even | {numbers.min, numbers.last, default}))
