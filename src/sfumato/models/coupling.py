"""Everything that leans on what diffusers does not promise: look here when its pinned version changes.

The adapters otherwise call public methods of its pipelines, models and schedulers. Importing this file imports neither
torch nor diffusers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sfumato.errors import CheckpointError
from sfumato.models.parts import read_json

# What `step` of a scheduler changes; all else follows from its config and set_timesteps (found by comparing vars()
# before and after a step). A scheduler that is not listed is refused: carried on without its history it would give
# other pictures, and silently.
HISTORY: dict[str, tuple[str, ...]] = {
    "CogVideoXDDIMScheduler": (),
    "CogVideoXDPMScheduler": ("old_pred_original_sample",),
    "DDIMScheduler": (),
    "DPMSolverMultistepScheduler": ("_step_index", "lower_order_nums", "model_outputs"),
    "EulerAncestralDiscreteScheduler": ("_step_index",),
    "EulerDiscreteScheduler": ("_step_index",),
    "FlowMatchEulerDiscreteScheduler": ("_step_index",),
    "LCMScheduler": ("_step_index",),
    "UniPCMultistepScheduler": (
        "_step_index",
        "lower_order_nums",
        "this_order",
        "model_outputs",
        "timestep_list",
        "last_sample",
    ),
}


def check_sampler(folder: Path) -> None:
    """Raise CheckpointError unless the scheduler of the checkpoint in `folder` can be paused between two steps."""
    sampler = read_json(folder / "scheduler" / "scheduler_config.json").get("_class_name")
    if sampler not in HISTORY:
        message = f"model: {folder} samples by {sampler}; change its scheduler to one of: {', '.join(HISTORY)}"
        raise CheckpointError(message, field="model")


@contextmanager
def quiet() -> Iterator[None]:
    """Loading without progress bars and without notices of image processors that no served pipeline uses."""
    from diffusers.utils import logging as ours
    from transformers.utils import logging as theirs

    before = [(library, library.is_progress_bar_enabled(), library.get_verbosity()) for library in (ours, theirs)]
    for library, _, _ in before:
        library.disable_progress_bar()
        library.set_verbosity_error()
    try:
        yield
    finally:
        for library, bars, verbosity in before:
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()


def history(scheduler: Any) -> dict[str, Any]:
    """What the steps so far have left on the scheduler: numbers, tensors, lists of them, which are copied."""
    held = vars(scheduler)
    kept = {name: held[name] for name in HISTORY[type(scheduler).__name__] if name in held}
    return {name: [*value] if isinstance(value, list) else value for name, value in kept.items()}


def set_history(scheduler: Any, values: dict[str, Any]) -> None:
    """Put back what `history` gave, on a scheduler with the same timesteps."""
    for name, value in values.items():
        setattr(scheduler, name, value)


def advance(scheduler: Any, noise: Any, done: int, latent: Any, options: dict[str, Any]) -> Any:
    """The latent after the step that follows `done` steps.

    CogVideoX's schedulers give it in another type, which its pipeline undoes; the one of second order leaves its
    history to its caller: here it stays on the scheduler.
    """
    times, options, kind = scheduler.timesteps, {**options, "return_dict": False}, type(scheduler).__name__
    if not kind.startswith("CogVideoX"):
        return scheduler.step(noise, times[done], latent, **options)[0]
    if kind == "CogVideoXDDIMScheduler":
        return scheduler.step(noise, times[done], latent, **options)[0].to(latent.dtype)
    old, before = vars(scheduler).get("old_pred_original_sample"), times[done - 1] if done else None
    after, scheduler.old_pred_original_sample = scheduler.step(noise, old, times[done], before, latent, **options)
    return after.to(latent.dtype)


def set_flux_timesteps(scheduler: Any, steps: int, tokens: int, device: Any) -> None:
    """Timesteps as FluxPipeline sets them: shifted by the number of image tokens."""
    import numpy as np
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift, retrieve_timesteps

    config = scheduler.config
    mu = calculate_shift(
        tokens,
        config.get("base_image_seq_len", 256),
        config.get("max_image_seq_len", 4096),
        config.get("base_shift", 0.5),
        config.get("max_shift", 1.15),
    )
    sigmas = None if config.get("use_flow_sigmas") else np.linspace(1.0, 1 / steps, steps)
    retrieve_timesteps(scheduler, steps, device, sigmas=sigmas, mu=mu)


def unpack_flux(pipe: Any, latent: Any, height: int, width: int) -> Any:
    """Flux latents [1, tokens, 4c] of an image of that size in pixels as [1, c, h, w]."""
    return pipe._unpack_latents(latent, height, width, pipe.vae_scale_factor)


def wan_decode_cache(vae: Any) -> list[Any]:
    """An empty feature cache; AutoencoderKLWan keeps one on itself, so two interleaved decodes would share it."""
    return [None] * vae._cached_conv_counts["decoder"]


def wan_decode_frame(vae: Any, latents: Any, index: int, cache: list[Any]) -> Any:
    """Pixels [1, 3, frames, H, W] in -1..1 of latent frame `index`, of which the first gives one frame.

    `latents` [1, z, f, h, w] have passed vae.post_quant_conv; `cache` is updated. Frame by frame this is the loop of
    AutoencoderKLWan._decode, whose remaining operations work on each pixel alone.
    """
    from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

    first = {"first_chunk": True} if index == 0 else {}
    pixels = vae.decoder(latents[:, :, index : index + 1], feat_cache=cache, feat_idx=[0], **first)
    if vae.config.patch_size is not None:
        pixels = unpatchify(pixels, patch_size=vae.config.patch_size)
    return pixels.clamp(min=-1.0, max=1.0)
