"""Which settings of a model are measured: few, because the cost model draws curves between them.

Rules: the smallest, the default and the largest size and length always, within the model's offer; every stage at each
of them; batches of steps at the smallest, the default and the largest one, because what batching gains falls with the
size; passes as the default guidance takes them. More ranks than one, and batches of unlike shapes where the model packs
them, are measured at the ends only (and in the middle where there is time): what they gain or lose over one rank and
equal shapes changes slowly. Denoising comes first at each shape, so that a profile that was cut short holds what
matters.
"""

from __future__ import annotations

from sfumato.core.values import Shape, Stage, Value
from sfumato.errors import ConfigError
from sfumato.models.offer import Offer, Range


class Grid(Value, frozen=True, kw_only=True):
    """How closely to measure: sizes and lengths between the ends, batches, seconds to spend on a setting.

    `both` measures guided and unguided steps; otherwise the one that the default guidance takes. `middle` measures
    several ranks and unlike shapes also at the default shape.
    """

    sizes: int
    frames: int
    batches: tuple[int, ...]
    seconds: float
    both: bool = False
    middle: bool = False


GRIDS = {
    "quick": Grid(sizes=3, frames=2, batches=(1, 2, 4), seconds=0.5),
    "full": Grid(sizes=5, frames=4, batches=(1, 2, 4, 8), seconds=4.0, both=True, middle=True),
}


class Setting(Value, frozen=True, kw_only=True):
    """One point to measure: a batch of equals, or with `others` of `shape` and these."""

    stage: Stage
    shape: Shape
    degree: int = 1
    batch: int = 1
    guided: bool = False
    others: tuple[Shape, ...] = ()

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Of all jobs of the batch."""
        return (self.shape, *self.others) if self.others else (self.shape,) * self.batch

    @property
    def key(self) -> tuple[object, ...]:
        """What there is one measurement for: as `cost.profile.Measured.key` and `Mixed.key`."""
        if self.others:
            return self.shapes, self.degree, self.guided
        return self.stage, self.shape, self.degree, self.batch, self.guided

    def fields(self) -> dict[str, object]:
        """What it is, in the words of a profile."""
        if self.others:
            return {"shapes": self.shapes, "degree": self.degree, "guided": self.guided}
        shape = self.shape
        where = {"height": shape.height, "width": shape.width, "frames": shape.frames}
        return {"stage": self.stage, **where, "degree": self.degree, "batch": self.batch, "guided": self.guided}

    def __str__(self) -> str:
        extra = f" on {self.degree} ranks" if self.degree > 1 else ""
        many = f" ×{self.batch}" if self.batch > 1 else ""
        sizes = " + ".join(map(str, self.shapes)) if self.others else f"{self.shape}{many}"
        return f"{self.stage} {sizes}{' guided' if self.guided else ''}{extra}"


def grid(offer: Offer, density: str = "quick", ranks: int = 1) -> tuple[Setting, ...]:
    """The settings of a named grid for a model on so many ranks."""
    if density not in GRIDS:
        raise ConfigError(f"grid: there is no {density!r}; use one of: {', '.join(GRIDS)}", field="grid")
    chosen = GRIDS[density]
    shapes = shapes_of(offer, chosen)
    ends = {shapes[0], shapes[-1]}
    settings: dict[Setting, None] = {}
    for shape in shapes:
        batched = shape in ends or shape == offer.default_shape or chosen.both
        batches = chosen.batches if batched else (1,)
        for stage in (Stage.DIFFUSE, Stage.DECODE, Stage.ENCODE):
            if stage is not Stage.ENCODE or shape == offer.default_shape:  # text: the same at any size
                alone = _alone(offer, chosen, stage, shape, batches if stage is not Stage.DECODE else (1,))
                settings |= dict.fromkeys(alone)
        if shape in ends or (chosen.middle and shape == offer.default_shape):
            settings |= dict.fromkeys(_together(offer, shape, ranks))
    return (*settings, *_mixed(offer, chosen, shapes))


def _alone(offer: Offer, chosen: Grid, stage: Stage, shape: Shape, batches: tuple[int, ...]) -> list[Setting]:
    """On one rank each, whatever the model allows."""
    spec = offer.spec.stage(stage)
    default = offer.guided(offer.default_guidance)
    passes = (default, not default) if chosen.both and not offer.distilled else (default,)
    return [
        Setting(stage=stage, shape=shape, batch=batch, guided=guided)
        for guided in (passes if stage is not Stage.DECODE else (False,))
        for batch in batches
        if batch <= spec.max_batch
    ]


def _together(offer: Offer, shape: Shape, ranks: int) -> list[Setting]:
    """On several ranks, as far as the model and the ranks go."""
    guided = offer.guided(offer.default_guidance)
    return [
        Setting(stage=stage, shape=shape, degree=degree, guided=guided and stage is not Stage.DECODE)
        for stage in (Stage.DIFFUSE, Stage.DECODE)
        for degree in offer.spec.stage(stage).degrees
        if 1 < degree <= ranks
    ]


def _mixed(offer: Offer, chosen: Grid, shapes: tuple[Shape, ...]) -> list[Setting]:
    """Batches of unlike shapes: the smallest with the largest, and all three."""
    spec, guided = offer.spec.diffuse, offer.guided(offer.default_guidance)
    three = tuple(dict.fromkeys((shapes[0], offer.default_shape, shapes[-1])))
    mixes = dict.fromkeys(((shapes[0], shapes[-1]), three) if chosen.middle else (three,))
    return [
        Setting(stage=Stage.DIFFUSE, shape=mix[0], batch=len(mix), guided=guided, others=mix[1:])
        for mix in mixes
        if spec.packs and 1 < len(mix) <= spec.max_batch
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
