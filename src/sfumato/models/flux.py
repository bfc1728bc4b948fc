"""FLUX.1 text-to-image. The latent is packed: [1, tokens, channels], a token for each 2x2 patch of the VAE's grid."""

from __future__ import annotations

from typing import Any

import torch

from sfumato.models import coupling, coupling_flux, rows
from sfumato.models.adapter import Adapter
from sfumato.models.family import Task
from sfumato.models.group import Group
from sfumato.models.progress import Pass, Progress, guide


class Flux(Adapter):
    """Guidance is an input of models distilled for it (dev); others take a negative pass for guidance above 1."""

    packs = True
    reuses = True

    def configure(self, pipe: Any) -> None:
        pipe.vae_scale_factor = 2 ** (len(self.configs["vae"]["block_out_channels"]) - 1)

    def condition(self, prompts: list[str]) -> list[dict[str, torch.Tensor]]:
        embeds, pooled, ids = self.pipe.encode_prompt(
            prompts, None, device=self.device, max_sequence_length=self.offer.max_prompt_tokens
        )
        return [
            {"embeds": embeds[i : i + 1].clone(), "pooled": pooled[i : i + 1].clone(), "text_ids": ids}
            for i in range(len(prompts))
        ]

    def start(self, task: Task, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        channels = self.configs["transformer"]["in_channels"] // 4
        size = task.shape.height, task.shape.width
        latent, ids = self.pipe.prepare_latents(1, channels, *size, self.dtype, self.device, generator)
        return latent, {"image_ids": ids}

    def schedule(self, scheduler: Any, task: Task) -> None:
        side = 2 * self.pipe.vae_scale_factor
        tokens = (task.shape.height // side) * (task.shape.width // side)
        coupling.set_flux_timesteps(scheduler, task.steps, tokens, self.device)

    def predict(self, states: list[Progress]) -> torch.Tensor:
        latents = torch.cat([state.latent for state in states])
        times = torch.stack([state.time for state in states]).to(latents.dtype) / 1000
        positive = self._forward(states, latents, times, "")
        if not states[0].guided:
            return positive
        return guide(states, positive, self._forward(states, latents, times, "negative_"))

    def _forward(self, states: list[Progress], latents: torch.Tensor, times: torch.Tensor, side: str) -> torch.Tensor:
        """One pass; `side` is "" or "negative_". The ids are those of the first: equal in a batch of one shape."""
        first = states[0].conditioning
        return self.pipe.transformer(  # type: ignore[no-any-return]
            hidden_states=latents,
            timestep=times,
            guidance=self._guidance(states),
            pooled_projections=torch.cat([state.conditioning[f"{side}pooled"] for state in states]),
            encoder_hidden_states=torch.cat([state.conditioning[f"{side}embeds"] for state in states]),
            txt_ids=first[f"{side}text_ids"],
            img_ids=first["image_ids"],
            return_dict=False,
        )[0]

    def predict_packed(self, passes: list[Pass], group: Group | None, across: Group | None) -> list[torch.Tensor]:
        states = [one.state for one in passes]
        return coupling_flux.predict(
            self.pipe.transformer,
            images=[state.latent for state in states],
            texts=[one.text("embeds") for one in passes],
            image_ids=[state.conditioning["image_ids"] for state in states],
            text_ids=[one.text("text_ids") for one in passes],
            pooled=torch.cat([one.text("pooled") for one in passes]),
            times=torch.stack([state.time for state in states]).to(states[0].latent.dtype) / 1000,
            guidance=self._guidance(states),
            group=group,
            across=across,
            reuse=self.reuse(passes),
        )

    def _guidance(self, states: list[Progress]) -> torch.Tensor | None:
        if not self.offer.distilled:
            return None
        scales = [state.task.payload.guidance for state in states]
        return torch.tensor(scales, device=self.device, dtype=torch.float32)

    def decode_unit(self, state: Progress) -> tuple[torch.Tensor, bool]:
        return self.decode_rows(state, None)

    def decode_rows(self, state: Progress, group: Group | None) -> tuple[torch.Tensor, bool]:
        shape, vae = state.task.shape, self.pipe.vae
        latent = coupling.unpack_flux(self.pipe, state.latent, shape.height, shape.width)
        latent = latent / vae.config.scaling_factor + vae.config.shift_factor
        return rows.spread(lambda own: vae.decode(own, return_dict=False)[0], latent, group), True
