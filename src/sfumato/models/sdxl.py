"""Stable Diffusion XL text-to-image. The latent is [1, channels, h, w]; unlike sizes share a pass as patches.

An empty negative prompt is what the pipeline makes of none: zeros, where the checkpoint's index says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch

from sfumato.models import coupling_unet, rows
from sfumato.models.adapter import Adapter
from sfumato.models.family import State, Task
from sfumato.models.group import Group
from sfumato.models.offer import Offer
from sfumato.models.progress import Pass, Progress, guide

TEXT = ("embeds", "pooled")


class SDXL(Adapter):
    """Both sides of the guidance are one batch, as in the pipeline; LCMs take guidance as an input instead."""

    packs = True

    def __init__(self, offer: Offer, device: str = "cpu", dtype: str | None = None) -> None:
        super().__init__(offer, device, dtype)
        if self.dtype == torch.float16 and self.configs["vae"].get("force_upcast", True):
            self.precise = ("vae",)  # it overflows in half precision

    def configure(self, pipe: Any) -> None:
        pipe.vae_scale_factor = 2 ** (len(self.configs["vae"]["block_out_channels"]) - 1)

    def encode(self, tasks: Sequence[Task]) -> list[State]:
        states = super().encode(tasks)
        if self.index.get("force_zeros_for_empty_prompt", True):
            for state in cast("list[Progress]", states):
                if state.guided and not state.task.payload.negative_prompt:
                    zeros = {f"negative_{name}": torch.zeros_like(state.conditioning[name]) for name in TEXT}
                    state.conditioning |= zeros
        return states

    def condition(self, prompts: list[str]) -> list[dict[str, torch.Tensor]]:
        embeds, _, pooled, _ = self.pipe.encode_prompt(prompts, device=self.device, do_classifier_free_guidance=False)
        return [{"embeds": embeds[i : i + 1].clone(), "pooled": pooled[i : i + 1].clone()} for i in range(len(prompts))]

    def start(self, task: Task, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        channels, size = self.configs["unet"]["in_channels"], (task.shape.height, task.shape.width)
        self.schedule(self.pipe.scheduler, task)  # its first sigma scales the noise
        latent = self.pipe.prepare_latents(1, channels, *size, self.dtype, self.device, generator)
        # of the image that it was cut from, the corner of the cut, and of the result
        sizes = torch.tensor([[*size, 0, 0, *size]], dtype=self.dtype, device=self.device)
        return latent, {"sizes": sizes}

    def schedule(self, scheduler: Any, task: Task) -> None:
        scheduler.set_timesteps(task.steps, device=self.device)

    def predict(self, states: list[Progress]) -> torch.Tensor:
        if not states[0].guided:
            return self._forward([Pass(state) for state in states])
        noise = self._forward([Pass(state, negative) for state in states for negative in (True, False)])
        return guide(states, noise[1::2], noise[::2])

    def predict_packed(self, passes: list[Pass], group: Group | None, across: Group | None) -> list[torch.Tensor]:
        if group is not None:
            raise ValueError("a pass of a UNet is not spread over ranks")
        if len({one.state.task.shape for one in passes}) == 1:
            own = list(torch.split(self._forward(passes), 1))
        else:
            own = self._forward_patched(passes)
        return own if across is None else _exchange(own, across)

    def _forward(self, passes: list[Pass]) -> torch.Tensor:
        """Passes of one shape, as the model's own batch."""
        images = torch.cat([_scaled(one.state) for one in passes])
        return self.pipe.unet(images, **self._inputs(passes), return_dict=False)[0]  # type: ignore[no-any-return]

    def _forward_patched(self, passes: list[Pass]) -> list[torch.Tensor]:
        """Passes of unlike shapes; those of one size lie side by side, so that they share the calls of attention."""
        order = sorted(range(len(passes)), key=lambda i: passes[i].state.latent.numel())
        ordered = [passes[i] for i in order]
        images = [_scaled(one.state) for one in ordered]
        predicted = coupling_unet.predict(self.pipe.unet, images, **self._inputs(ordered))
        placed = dict(zip(order, predicted, strict=True))
        return [placed[i] for i in range(len(passes))]

    def _inputs(self, passes: list[Pass]) -> dict[str, Any]:
        """What the UNet takes beside the images."""
        states = [one.state for one in passes]
        sizes = torch.cat([state.conditioning["sizes"] for state in states])
        return {
            "timestep": torch.stack([state.time for state in states]),
            "encoder_hidden_states": torch.cat([one.text("embeds") for one in passes]),
            "added_cond_kwargs": {"text_embeds": torch.cat([one.text("pooled") for one in passes]), "time_ids": sizes},
            "timestep_cond": self._guidance(states),
        }

    def _guidance(self, states: list[Progress]) -> torch.Tensor | None:
        if not self.offer.distilled:
            return None
        scales = torch.tensor([state.task.payload.guidance - 1 for state in states])
        embedded = self.pipe.get_guidance_scale_embedding(scales, self.configs["unet"]["time_cond_proj_dim"])
        return embedded.to(device=self.device, dtype=self.dtype)  # type: ignore[no-any-return]

    def decode_unit(self, state: Progress) -> tuple[torch.Tensor, bool]:
        return self.decode_rows(state, None)

    def decode_rows(self, state: Progress, group: Group | None) -> tuple[torch.Tensor, bool]:
        vae = self.pipe.vae
        latent, config = state.latent.to(vae.dtype), vae.config
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if mean is None or std is None:
            latent = latent / config.scaling_factor
        else:
            mean, std = (torch.tensor(values).view(1, -1, 1, 1).to(latent) for values in (mean, std))
            latent = latent * std / config.scaling_factor + mean
        return rows.spread(lambda own: vae.decode(own, return_dict=False)[0], latent, group), True


def _scaled(state: Progress) -> torch.Tensor:
    """The latent as the UNet takes it: some samplers keep it at the size of their sigma."""
    return state.sampler.scheduler.scale_model_input(state.latent, state.time)  # type: ignore[no-any-return]


def _exchange(own: list[torch.Tensor], across: Group) -> list[torch.Tensor]:
    """The predictions of all runs of ranks, those of the first run first."""
    runs = across.all_gather(torch.cat([x.flatten() for x in own]))
    return [
        x.view(like.shape) for run in runs for x, like in zip(run.split([y.numel() for y in own]), own, strict=True)
    ]
