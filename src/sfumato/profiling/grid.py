"""Which settings of a model are measured: few, because the cost model draws curves between them.

Rules: the smallest, the default and the largest size and length always, within the model's offer; steps and decode at
each of them; batches of steps at the smallest, the default and the largest one, because what batching gains falls with
the size; passes as the default guidance takes them, and where there is time also the others. More ranks than one, and
batches of unlike shapes where the model packs them, are measured at the ends only (and in the middle where there is
time): what they gain or lose over one rank and equal shapes changes slowly. Denoising comes first at each shape, so
that a profile that was cut short holds what matters.
"""

from __future__ import annotations

from sfumato.core.values import Shape, Stage, Value
from sfumato.errors import ConfigError
from sfumato.models.family import Quality
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
    """One point to measure: a batch of equals, or with `others` of `shape` and these.

    A `quality` below exact is for what its steps keep: nothing else of it is in a profile's points.
    """

    stage: Stage
    shape: Shape
    degree: int = 1
    batch: int = 1
    guided: bool = False
    cfg: int = 1
    others: tuple[Shape, ...] = ()
    quality: Quality = "exact"

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Of all jobs of the batch."""
        return (self.shape, *self.others) if self.others else (self.shape,) * self.batch

    @property
    def key(self) -> tuple[object, ...]:
        """What there is one measurement for: as `cost.profile.Measured.key` and `Mixed.key`."""
        if self.others:
            return self.shapes, self.degree, self.guided
        return self.stage, self.shape, self.degree, self.batch, self.guided, self.cfg

    def fields(self) -> dict[str, object]:
        """What it is, in the words of a profile."""
        if self.others:
            return {"shapes": self.shapes, "degree": self.degree, "guided": self.guided}
        shape = self.shape
        where = {"height": shape.height, "width": shape.width, "frames": shape.frames}
        how = {"degree": self.degree, "batch": self.batch, "guided": self.guided, "cfg": self.cfg}
        return {"stage": self.stage, **where, **how}

    def __str__(self) -> str:
        halves = " in halves" if self.cfg > 1 else ""
        extra = f" on {self.degree} ranks{halves}" if self.degree > 1 else ""
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
        usual = shape == offer.default_shape
        settings |= dict.fromkeys(_steps(offer, chosen, shape, batched=usual or shape in ends))
        settings[Setting(stage=Stage.DECODE, shape=shape)] = None
        if usual:
            settings |= dict.fromkeys(_encodes(offer, chosen))
        if shape in ends or (chosen.middle and usual):
            settings |= dict.fromkeys(_together(offer, shape, ranks))
    return (*settings, *_mixed(offer, chosen, shapes))


def reusing(offer: Offer, density: str = "quick") -> tuple[Setting, ...]:
    """Steps of the qualities below exact, at the default shape and the largest: for what they keep.

    With two passes where the model has them, which keep twice as much as one.
    """
    shapes = dict.fromkeys((offer.default_shape, shapes_of(offer, GRIDS[density])[-1]))
    below = [quality for quality in offer.qualities if quality != "exact"]
    return tuple(
        Setting(stage=Stage.DIFFUSE, shape=shape, guided=not offer.distilled, quality=quality)
        for shape in shapes
        for quality in below
    )


def _steps(offer: Offer, chosen: Grid, shape: Shape, *, batched: bool) -> list[Setting]:
    """On one rank each. The passes that are not the usual ones are batched at the default shape alone."""
    usual = offer.guided(offer.default_guidance)
    found = []
    for guided in (usual, not usual) if chosen.both and not offer.distilled else (usual,):
        many = batched if guided == usual else shape == offer.default_shape
        for batch in chosen.batches if many else (1,):
            if batch <= offer.spec.diffuse.max_batch:
                found.append(Setting(stage=Stage.DIFFUSE, shape=shape, batch=batch, guided=guided))
    return found


def _encodes(offer: Offer, chosen: Grid) -> list[Setting]:
    """Text takes the same at any size, and a batch of it lies between one and the largest."""
    guided, most = offer.guided(offer.default_guidance), min(chosen.batches[-1], offer.spec.encode.max_batch)
    return [
        Setting(stage=Stage.ENCODE, shape=offer.default_shape, batch=batch, guided=guided)
        for batch in dict.fromkeys((1, most))
    ]


def _together(offer: Offer, shape: Shape, ranks: int) -> list[Setting]:
    """On several ranks, as far as the model and the ranks go, also with the passes of guidance on two halves."""
    guided = offer.guided(offer.default_guidance)
    return [
        Setting(stage=stage, shape=shape, degree=degree, guided=guided and stage is not Stage.DECODE, cfg=cfg)
        for stage in (Stage.DIFFUSE, Stage.DECODE)
        for degree, cfg in offer.spec.stage(stage).layouts(guided)
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
