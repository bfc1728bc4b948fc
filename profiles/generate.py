"""Writes profiles/modelled/: what the published tables leave out, from one set of rules. `python -m profiles.generate`

A published table has denoising alone, at batch 1. Each file written here is one of those (its points as they are) and,
every point of it marked as an estimate:

- encode: 2 x parameters x 512 tokens operations, at 40% of the device's dense 16-bit peak;
- decode: `VAE_S` a megapixel on an H100, elsewhere by memory bandwidth (convolutions at full size are bound by it). It
  lies between two published figures: Open-Sora's VAE takes 8.70 s for 51 frames of 720p on an H800 (0.19 s a
  megapixel), FLUX.1's 0.117 s for 1024x1024 on a B200 (0.27 on an H100). Videos decode by the latent frame;
- batches of steps, on one rank: a batch costs what one image with as many pixels costs, by the table's own curve; never
  less than one member, never more than its members one by one. Beyond one megapixel nothing is left to gain, and no
  batch is offered. Other degrees keep the ratio;
- bytes: weights have 2 a parameter (the published counts below); latents and activations by `cost.estimates`, a decode
  at most 8 GiB (larger ones go by tiles).

`sfumato simulate --modelled-factor 0.7` (or 1.3) scales them: seconds of encode and decode, what each further member
adds to a batch, and bytes of latents and activations.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from sfumato.core.cost import Work
from sfumato.core.values import PartId, Shape, Stage, Value
from sfumato.cost import estimates
from sfumato.cost.profile import Held, Peak, Point, Profile, read_profile, write_profile
from sfumato.cost.table import Table

HERE = Path(__file__).parent
VAE_S = 0.2
TOKENS = 512
EFFICIENCY = 0.4
TILED = 8 << 30
MOST_PIXELS = 1024 * 1024
BATCHES = (2, 4, 8, 12)


class Device(Value, frozen=True, kw_only=True):
    """By the data sheets: dense 16-bit operations a second, bytes a second."""

    operations_s: float
    bytes_s: float


DEVICES = {
    "h100": Device(operations_s=990e12, bytes_s=3.35e12),
    "h20": Device(operations_s=148e12, bytes_s=4.0e12),
    "l20": Device(operations_s=119.5e12, bytes_s=0.864e12),
    "rtxpro6000": Device(operations_s=503e12, bytes_s=1.79e12),
}


class Model(Value, frozen=True, kw_only=True):
    """Parameters of its parts; `stride` is pixels' frames to a latent frame, 0 for an image."""

    encoder: float
    transformer: float
    vae: float
    stride: int = 0
    packs: bool = False


T5 = 4.7e9
MODELS = {
    "flux1-dev": Model(encoder=T5 + 0.12e9, transformer=11.9e9, vae=0.08e9),
    "sd3-medium": Model(encoder=T5 + 0.82e9, transformer=2.0e9, vae=0.08e9, packs=True),
    "sd35-medium": Model(encoder=T5 + 0.82e9, transformer=2.5e9, vae=0.08e9, packs=True),
    "qwen-image": Model(encoder=7.6e9, transformer=20.4e9, vae=0.13e9),
    "wan2.2-5b": Model(encoder=5.7e9, transformer=5.0e9, vae=0.7e9, stride=4),
    "cogvideox1.5-5b": Model(encoder=T5, transformer=5.6e9, vae=0.22e9, stride=4),
    "hunyuanvideo": Model(encoder=8.1e9, transformer=13.0e9, vae=0.25e9, stride=4),
}
SOURCES = (
    "h100-flux1-dev-modelled",
    "h20-qwen-image",
    "l20-cogvideox1.5-5b",
    "l20-flux1-dev",
    "l20-hunyuanvideo",
    "l20-sd3-medium",
    "rtxpro6000-sd35-medium-modelled",
    "rtxpro6000-wan22-5b-modelled",
)
# MixFusion prints no table of SD3 on an H100: a step of 1024x1024 takes 40 to 50 ms, one of 512x512 2.4 times less.
MIXFUSION = Profile(
    model="sd3-medium",
    device="h100",
    hardware="NVIDIA H100",
    kind="modelled",
    source="NOT a measurement. 45 ms a step at 1024x1024 and 2.4 times less at 512x512, as MixFusion's text has it",
    steps=50,
    points=tuple(
        Point(stage=Stage.DIFFUSE, height=side, width=side, seconds=seconds, estimated=True)
        for side, seconds in ((512, 0.0188), (768, 0.0290), (1024, 0.0450))
    ),
)


def modelled(table: Profile) -> Profile:
    """A profile of denoising with all that it leaves out."""
    model, device = MODELS[table.model], DEVICES[table.device]
    parts = {stage: (f"{table.model}/{stage}",) for stage in Stage}
    shapes = list(dict.fromkeys(point.shape for point in table.points))
    return replace(
        table,
        kind="modelled",
        source=f"{table.source.rstrip('.')}. Modelled by profiles/generate.py: encode, decode, batches, bytes",
        frame_stride=model.stride,
        packs=model.packs,
        parts=parts,
        part_bytes=_weights(parts, model),
        points=(*table.points, *_batches(table), _encode(model, device, shapes[0]), *_decode(model, device, shapes)),
        peaks=tuple(peak for point in table.points for peak in _peaks(point)),
        held=tuple(_held(shape) for shape in shapes),
    )


def _weights(parts: dict[Stage, tuple[PartId, ...]], model: Model) -> dict[PartId, int]:
    counts = {Stage.ENCODE: model.encoder, Stage.DIFFUSE: model.transformer, Stage.DECODE: model.vae}
    return {part: int(counts[stage] * estimates.BYTES_A_PARAMETER) for stage, (part,) in parts.items()}


def _encode(model: Model, device: Device, shape: Shape) -> Point:
    seconds = 2 * model.encoder * TOKENS / (EFFICIENCY * device.operations_s)
    return _point(Stage.ENCODE, shape, seconds)


def _decode(model: Model, device: Device, shapes: list[Shape]) -> list[Point]:
    a_pixel_s = VAE_S / 1e6 * DEVICES["h100"].bytes_s / device.bytes_s
    frames = max(1, model.stride)
    sizes = {(shape.height, shape.width): shape for shape in shapes}
    return [
        _point(Stage.DECODE, replace(shape, frames=1), shape.height * shape.width * frames * a_pixel_s)
        for shape in (sizes.values() if model.stride else shapes)
    ]


def _batches(table: Profile) -> list[Point]:
    """Of images, on one rank."""
    curve = Table(table)
    found = []
    for point in table.points:
        pixels = point.height * point.width
        for batch in BATCHES if point.degree == 1 and point.frames == 1 and point.batch == 1 else ():
            side = int((pixels * batch) ** 0.5)
            work = Work(model=table.model, stage=Stage.DIFFUSE, shapes=(Shape(height=side, width=side),))
            alike = curve.price(work).seconds
            if pixels * batch <= MOST_PIXELS:
                seconds = min(max(point.seconds, alike), batch * point.seconds)
                found.append(replace(_point(Stage.DIFFUSE, point.shape, seconds), batch=batch))
    return found


def _peaks(point: Point) -> list[Peak]:
    stages = (Stage.DIFFUSE, Stage.DECODE) if point.degree == 1 else (Stage.DIFFUSE,)
    works = [Work(model="", stage=stage, shapes=(point.shape,), degree=point.degree) for stage in stages]
    return [
        Peak(
            stage=work.stage,
            height=point.height,
            width=point.width,
            frames=point.frames,
            degree=point.degree,
            bytes=min(estimates.peak_bytes(work), TILED if work.stage is Stage.DECODE else 1 << 60),
        )
        for work in works
    ]


def _held(shape: Shape) -> Held:
    size = {"height": shape.height, "width": shape.width, "frames": shape.frames}
    return Held(stage=Stage.DIFFUSE, bytes=estimates.held_bytes(shape), **size)


def _point(stage: Stage, shape: Shape, seconds: float) -> Point:
    return Point(
        stage=stage,
        height=shape.height,
        width=shape.width,
        frames=shape.frames,
        seconds=round(seconds, 6),
        estimated=True,
    )


def main() -> None:
    """Write all of them."""
    tables = [*(read_profile(HERE / "published" / f"{name}.json") for name in SOURCES), MIXFUSION]
    for table in tables:
        write_profile(HERE / "modelled" / f"{table.device}-{table.model}.json", modelled(table))


if __name__ == "__main__":
    main()
