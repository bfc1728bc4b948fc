"""Numbers for what nobody measured, each from a stated rule and marked as an estimate by whoever uses it.

Three gaps are filled: a profile without encode or decode (published tables hold denoising only), a model without a
profile, and bytes. The rules are rough on purpose: a measurement or the online correction replaces them.
"""

from __future__ import annotations

from math import inf

from msgspec.structs import replace

from sfumato.core.cost import Work
from sfumato.core.values import ModelSpec, Shape, Stage, decode_units
from sfumato.cost.profile import Point, Profile

# Encode : denoise : decode of light and of heavy requests, in percent, as TridentServe reports them (arXiv 2510.02838).
LIGHT = (10.0, 63.0, 27.0)
HEAVY = (2.0, 88.0, 10.0)
ENCODE_MOST_S = 1.0  # 10 billion parameters on 512 tokens are 1e13 operations: 0.1 s of a data-centre GPU
VAE_GROWTH = 0.7  # seconds grow at least with this power of the size; measured ones of Open-Sora do with 1.06

# Sustained operations a second, for models without a profile: one thread of a CPU, a data-centre GPU in 16 bit.
CPU_SPEED, GPU_SPEED = 3e10, 2e14
LAUNCH_S = 0.002  # of a model pass that has next to nothing to compute
PROMPT_TOKENS = 256
PIXELS_A_TOKEN = 256  # 8 x 8 of the VAE, 2 x 2 of the patches
# Bytes a token of one pass, kept between steps that are reused: what the first block adds, what the others do and how
# that changes (models/reuse_kept), in 16 bit and as wide as Wan 14B, the widest model that is served.
REUSE_BYTES = 3 * 5120 * 2
TEXT_TOKENS = 512  # at most, where they go through the blocks beside the picture's
# Operations a pixel of a VAE decoder a parameter: 2.5 million for the 50 million parameters of the usual one.
VAE_OPERATIONS = 0.05
BYTES_A_PARAMETER = 2


def with_stages(profile: Profile) -> Profile:
    """The profile with estimated points for encode and decode where it has none, from TridentServe's stage ratios.

    The smallest shape counts as light and the largest as heavy (a lone video as heavy). Encode is constant: a light
    request's share, but no text encoder takes longer than `ENCODE_MOST_S`. Decode goes through the shares of both
    ends; where those would make it grow slower than a VAE does, the light end gives way.
    """
    steps = [point for point in profile.points if point.stage is Stage.DIFFUSE and point.batch == 1]
    if not steps:
        return profile
    least = min(point.degree for point in steps)
    sized = sorted((p for p in steps if p.degree == least), key=lambda p: (_size(p), p.guided))
    light, heavy = sized[0], sized[-1]
    lone = _size(light) == _size(heavy)
    small = HEAVY if lone and light.frames > 1 else LIGHT
    guesses = [_guess(profile, Stage.ENCODE, light, small[0] / small[1], most_s=ENCODE_MOST_S)]
    if lone:
        guesses.append(_guess(profile, Stage.DECODE, light, small[2] / small[1]))
    else:
        large = _guess(profile, Stage.DECODE, heavy, HEAVY[2] / HEAVY[1])
        most_s = large.seconds * (_pixels(profile, light) / _pixels(profile, heavy)) ** VAE_GROWTH
        guesses += [_guess(profile, Stage.DECODE, light, small[2] / small[1], most_s=most_s), large]
    measured = {point.stage for point in profile.points}
    return replace(profile, points=(*profile.points, *(guess for guess in guesses if guess.stage not in measured)))


def _guess(profile: Profile, stage: Stage, step: Point, share: float, most_s: float = inf) -> Point:
    """A share of the whole denoising of `step`'s shape, by unit of the stage."""
    units = 1
    if stage is Stage.DECODE and profile.frame_stride:
        units = decode_units(step.frames, profile.frame_stride, profile.lone_first)
    return Point(
        stage=stage,
        height=step.height,
        width=step.width,
        frames=step.frames,
        seconds=min(step.seconds * profile.steps * share / units, most_s),
        guided=step.guided and stage is not Stage.DECODE,
        estimated=True,
    )


def _size(point: Point) -> int:
    return point.height * point.width * point.frames


def _pixels(profile: Profile, point: Point) -> int:
    """What a unit of decode grows with."""
    return point.height * point.width * (1 if profile.frame_stride else point.frames)


def unit_s(work: Work, spec: ModelSpec) -> float:
    """Seconds of a unit of a model that has no profile: operations over the device's usual speed."""
    passes = 2 if work.guided and work.stage is not Stage.DECODE and work.cfg == 1 else 1
    parameters = sum(spec.part_bytes.get(part, 0) for part in spec.stage(work.stage).parts) / BYTES_A_PARAMETER
    operations = passes * parameters * sum(_operations(work.stage, shape, spec) for shape in work.shapes)
    # Encode and decode run whole on every rank of a group.
    spread = 0.1 + 0.9 * work.cfg / work.degree if work.stage is Stage.DIFFUSE else 1.0
    return LAUNCH_S * passes + operations * spread / speed(work.device)


def speed(device: str) -> float:
    """Operations a second that a device is guessed to sustain."""
    return CPU_SPEED if device.startswith("cpu") else GPU_SPEED


def _operations(stage: Stage, shape: Shape, spec: ModelSpec) -> float:
    """Per parameter, of a unit."""
    pixels = shape.height * shape.width
    if stage is Stage.ENCODE:
        return 2.0 * PROMPT_TOKENS
    if stage is Stage.DIFFUSE:
        return 2.0 * pixels * latent_frames(shape) / PIXELS_A_TOKEN
    frames = min(spec.frame_stride, shape.frames) if spec.frame_stride else shape.frames
    return VAE_OPERATIONS * pixels * frames


def latent_frames(shape: Shape) -> int:
    """Frames of a latent: video VAEs of today compress time by 4 and keep the first frame."""
    return (shape.frames - 1) // 4 + 1


def held_bytes(shape: Shape) -> int:
    """A job's state between chunks: a latent of 16 channels in 32 bit, twice more as the sampler's history, and 4 MiB
    of conditioning."""
    return (4 << 20) + latent_bytes(shape) * 3


def reuse_bytes(shape: Shape, *, guided: bool) -> int:
    """What a job below exact keeps between steps on top of `held_bytes`, a guided one for each of its two passes.

    For rules by threshold that reuse all tokens of a request or none, as those of checkpoints without a fitted one do.
    A learned one keeps as much for each span of blocks, and one that judges each token the keys and values of all
    blocks besides: such a model needs a profile.
    """
    tokens = shape.height * shape.width * latent_frames(shape) // PIXELS_A_TOKEN + TEXT_TOKENS
    return tokens * REUSE_BYTES * (2 if guided else 1)


def latent_bytes(shape: Shape) -> int:
    """One latent: 16 channels in 32 bit for every 8 x 8 pixels."""
    return shape.height * shape.width // 64 * latent_frames(shape) * 16 * 4


def peak_bytes(work: Work) -> int:
    """Activations: 1 KiB a pixel of the latent's frames for a step, 4 KiB a pixel of four frames for decode."""
    total = 0
    for shape in work.shapes:
        pixels = shape.height * shape.width
        if work.stage is Stage.DIFFUSE:
            total += pixels * latent_frames(shape) * 1024 * (2 if work.guided else 1) // work.degree
        elif work.stage is Stage.DECODE:
            total += pixels * min(shape.frames, 4) * 4096
    return total or 64 << 20
