"""Stable Diffusion 3 and 3.5 text-to-image. The latent is [1, channels, h, w]."""

from __future__ import annotations

from typing import Any

import torch

from sfumato.models import coupling_sd3, rows
from sfumato.models.adapter import Adapter
from sfumato.models.family import Task
from sfumato.models.group import Group
from sfumato.models.progress import Pass, Progress, guide


class SD3(Adapter):
    """Both sides of the guidance are one batch, as in the pipeline. Text is CLIP's tokens and then those of T5."""

    packs = True

    def configure(self, pipe: Any) -> None:
        pipe.vae_scale_factor = 2 ** (len(self.configs["vae"]["block_out_channels"]) - 1)

    def condition(self, prompts: list[str]) -> list[dict[str, torch.Tensor]]:
        embeds, _, pooled, _ = self.pipe.encode_prompt(
            prompts,
            None,
            None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.offer.max_prompt_tokens,
        )
        return [{"embeds": embeds[i : i + 1].clone(), "pooled": pooled[i : i + 1].clone()} for i in range(len(prompts))]

    def start(self, task: Task, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        channels, size = self.configs["transformer"]["in_channels"], (task.shape.height, task.shape.width)
        return self.pipe.prepare_latents(1, channels, *size, self.dtype, self.device, generator), {}

    def schedule(self, scheduler: Any, task: Task) -> None:
        side = self.pipe.vae_scale_factor * self.configs["transformer"].get("patch_size", 2)
        tokens = (task.shape.height // side) * (task.shape.width // side)
        coupling_sd3.set_timesteps(scheduler, task.steps, tokens, self.device)

    def predict(self, states: list[Progress]) -> torch.Tensor:
        sides = (True, False) if states[0].guided else (False,)
        passes = [Pass(state, negative) for state in states for negative in sides]
        noise = self.pipe.transformer(
            hidden_states=torch.cat([one.state.latent for one in passes]),
            timestep=torch.stack([one.state.time for one in passes]),
            encoder_hidden_states=torch.cat([one.text("embeds") for one in passes]),
            pooled_projections=torch.cat([one.text("pooled") for one in passes]),
            return_dict=False,
        )[0]
        return guide(states, noise[1::2], noise[::2]) if states[0].guided else noise

    def predict_packed(self, passes: list[Pass], group: Group | None, across: Group | None) -> list[torch.Tensor]:
        return coupling_sd3.predict(
            self.pipe.transformer,
            latents=[one.state.latent for one in passes],
            texts=[one.text("embeds") for one in passes],
            pooled=torch.cat([one.text("pooled") for one in passes]),
            times=torch.stack([one.state.time for one in passes]),
            group=group,
            across=across,
        )

    def decode_unit(self, state: Progress) -> tuple[torch.Tensor, bool]:
        return self.decode_rows(state, None)

    def decode_rows(self, state: Progress, group: Group | None) -> tuple[torch.Tensor, bool]:
        vae = self.pipe.vae
        latent = state.latent / vae.config.scaling_factor + vae.config.shift_factor
        return rows.spread(lambda own: vae.decode(own, return_dict=False)[0], latent, group), True
