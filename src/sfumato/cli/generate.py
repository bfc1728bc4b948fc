"""`sfumato generate`."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from sfumato.api.media import encode_image, encode_video
from sfumato.cli.options import config_of, serving_options
from sfumato.cli.session import session
from sfumato.config import Config
from sfumato.core.values import Shape
from sfumato.errors import ConfigError, SfumatoError
from sfumato.models import Offer, describe
from sfumato.models.family import QUALITIES, Quality
from sfumato.runtime.service import Ask, Pixels, Ticket

POLL_S = 0.05
FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
ENDINGS = {"image": tuple(FORMATS), "video": (".mp4",)}


@click.command("generate", epilog='Try it: sfumato generate "a big red circle on a yellow background" --size 128x96')
@click.argument("prompt")
@serving_options
@click.option("--size", metavar="WxH", help="Pixels. Default: the model's.")
@click.option("--frames", type=int, help="Frames of a video. Default: the model's.")
@click.option("--video", is_flag=True, help="Draw with the first video model instead of the first image model.")
@click.option("--steps", type=int, help="Denoising steps. Default: the model's.")
@click.option("--guidance", type=float, help="Classifier-free guidance. Default: the model's.")
@click.option("--guidance-2", type=float, help="Of the steps of a second expert (Wan 2.2). Default: the same.")
@click.option("--negative-prompt", default="", help="What not to draw.")
@click.option("--quality", type=click.Choice(QUALITIES), default="exact", help="Below exact, steps reuse earlier ones.")
@click.option("--seed", type=int, help="Default: a random one, printed.")
@click.option("--out", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Default: sfumato-SEED.png or .mp4.")
def command(
    *,
    prompt: str,
    size: str | None,
    frames: int | None,
    video: bool,
    steps: int | None,
    guidance: float | None,
    guidance_2: float | None,
    negative_prompt: str,
    quality: Quality,
    seed: int | None,
    out: Path | None,
    **given: Any,
) -> None:
    """Draw one image or video here: the same engine and planner as the server's, without HTTP.

    The model is the first that fits; name one with --model.
    """
    wants_video = video or (frames or 1) > 1 or (out is not None and out.suffix.lower() == ".mp4")
    config, offer = _only(config_of(**given), wants_video)
    seed = secrets.randbelow(2**31) if seed is None else seed
    ask = Ask(
        model=offer.name,
        prompt=prompt,
        negative_prompt=negative_prompt,
        shape=_shape(offer, size, frames),
        steps=offer.default_steps if steps is None else steps,
        guidance=offer.default_guidance if guidance is None else guidance,
        guidance_2=guidance_2,
        seed=seed,
        quality=quality,
    )
    offer.check(
        shape=ask.shape,
        steps=ask.steps,
        guidance=ask.guidance,
        guidance_2=guidance_2,
        prompt=prompt,
        negative_prompt=negative_prompt,
    )
    offer.check_quality(quality)
    path = _checked(out or Path(f"sfumato-{seed}{ENDINGS[offer.modality][0]}"), offer)
    asyncio.run(_generate(config, offer, ask, path))
    click.echo(f"{path} (seed {seed})")


async def _generate(config: Config, offer: Offer, ask: Ask, path: Path) -> None:
    async with session(config, quiet=True) as (engine, _):
        ticket = engine.submit(ask)
        await _watch(ticket)
        path.write_bytes(_encoded(await engine.pixels(ticket), offer, path))


def _only(config: Config, video: bool) -> tuple[Config, Offer]:
    """Just the one model that is to draw, on one worker unless more were asked for: it starts sooner."""
    wanted = "video" if video else "image"
    for name, source in config.models.items():
        offer = describe(source, name)
        if offer.modality == wanted or len(config.models) == 1:
            workers = replace(config.workers, count=config.workers.count or 1)
            return replace(config, models={name: source}, workers=workers), offer
    raise ConfigError(
        f"--model: none of {', '.join(config.models)} makes {wanted}s; name one that does", field="--model"
    )


def _checked(path: Path, offer: Offer) -> Path:
    """A path that can hold what is drawn, said before it is drawn. Raises ConfigError."""
    endings = ENDINGS[offer.modality]
    if path.suffix.lower() not in endings:
        message = f"{path.name} cannot hold the {offer.modality} that {offer.name} makes; use {' or '.join(endings)}"
        raise ConfigError(f"--out: {message}", field="--out")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out: {path.parent} cannot be made: {error.strerror}", field="--out") from error
    return path


async def _watch(ticket: Ticket) -> None:
    """A progress bar over the steps, until the end. Raises SfumatoError if it failed."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task(str(ticket.stage), total=1.0)
        while ticket.outcome is None:
            bar.update(task, completed=ticket.fraction, description=str(ticket.stage))
            with suppress(TimeoutError):
                await asyncio.wait_for(ticket.ended.wait(), POLL_S)
    if not ticket.outcome.met:
        raise SfumatoError(f"the request {ticket.outcome.state}: {ticket.outcome.reason}")


def _encoded(pixels: Pixels, offer: Offer, path: Path) -> bytes:
    if offer.modality == "video":
        return encode_video(pixels, offer.fps)
    return encode_image(pixels, FORMATS[path.suffix.lower()])


def _shape(offer: Offer, size: str | None, frames: int | None) -> Shape:
    default = offer.default_shape
    width, height = default.width, default.height
    if size is not None:
        parts = size.lower().split("x")
        if len(parts) != 2 or not all(part.isdigit() for part in parts):
            raise ConfigError(f"--size: {size!r} is not WIDTHxHEIGHT, such as 128x96", field="--size")
        width, height = int(parts[0]), int(parts[1])
    return Shape(height=height, width=width, frames=default.frames if frames is None else frames)
