"""HunyuanVideo 1.0 text-to-video. The latent is [1, channels, latent frames, h, w] in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sfumato.models import coupling_hunyuan_video as coupling
from sfumato.models.adapter import Adapter
from sfumato.models.family import Task
from sfumato.models.group import Group
from sfumato.models.progress import Pass, Progress, guide


class HunyuanVideo(Adapter):
    """Guidance is an input of the published models; one without takes a negative pass for guidance above 1."""

    packs = True

    def configure(self, pipe: Any) -> None:
        vae = self.configs["vae"]
        pipe.vae_scale_factor_temporal = vae.get("temporal_compression_ratio", 4)
        pipe.vae_scale_factor_spatial = vae.get("spatial_compression_ratio", 8)

    def condition(self, prompts: list[str]) -> list[dict[str, torch.Tensor]]:
        embeds, pooled, mask = self.pipe.encode_prompt(
            prompts, device=self.device, max_sequence_length=self.offer.max_prompt_tokens
        )
        every = {"embeds": embeds, "pooled": pooled, "mask": mask.to(embeds.dtype)}
        return [{name: side[i : i + 1].clone() for name, side in every.items()} for i in range(len(prompts))]

    def start(self, task: Task, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        channels, shape = self.configs["transformer"]["in_channels"], task.shape
        size = shape.height, shape.width, shape.frames
        return self.pipe.prepare_latents(1, channels, *size, torch.float32, self.device, generator), {}

    def schedule(self, scheduler: Any, task: Task) -> None:
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.0, task.steps + 1)[:-1], device=self.device)

    def predict(self, states: list[Progress]) -> torch.Tensor:
        positive = self._forward(states, "")
        if not states[0].guided:
            return positive
        return guide(states, positive, self._forward(states, "negative_"))

    def _forward(self, states: list[Progress], side: str) -> torch.Tensor:
        """One pass; `side` is "" or "negative_"."""
        held = [state.conditioning for state in states]
        return self.pipe.transformer(  # type: ignore[no-any-return]
            hidden_states=torch.cat([state.latent.to(self.dtype) for state in states]),
            timestep=_times(states),
            encoder_hidden_states=torch.cat([text[f"{side}embeds"] for text in held]),
            encoder_attention_mask=torch.cat([text[f"{side}mask"] for text in held]),
            pooled_projections=torch.cat([text[f"{side}pooled"] for text in held]),
            guidance=self._guidance(states),
            return_dict=False,
        )[0]

    def predict_packed(self, passes: list[Pass], group: Group | None, across: Group | None) -> list[torch.Tensor]:
        states = [one.state for one in passes]
        return coupling.predict(
            self.pipe.transformer,
            latents=[state.latent.to(self.dtype) for state in states],
            texts=[one.text("embeds")[:, : int(one.text("mask").sum())] for one in passes],
            pooled=torch.cat([one.text("pooled") for one in passes]),
            times=_times(states),
            guidance=self._guidance(states),
            group=group,
            across=across,
        )

    def _guidance(self, states: list[Progress]) -> torch.Tensor | None:
        if not self.offer.distilled:
            return None
        scales = [state.task.payload.guidance for state in states]
        return torch.tensor(scales, device=self.device, dtype=self.dtype) * 1000.0

    def decode_unit(self, state: Progress) -> tuple[torch.Tensor, bool]:
        return self.decode_rows(state, None)

    def decode_rows(self, state: Progress, group: Group | None) -> tuple[torch.Tensor, bool]:
        vae = self.pipe.vae
        if state.decoding is None:
            state.decoding = state.latent.to(vae.dtype) / vae.config.scaling_factor, None
        latents, before = state.decoding
        pixels, before = coupling.decode_piece(vae, latents, state.decoded, before, group)
        state.decoding = latents, before
        return pixels[0].permute(1, 0, 2, 3), state.decoded + 1 == coupling.pieces(vae, latents.shape[2])


def _times(states: list[Progress]) -> torch.Tensor:
    """The timesteps [B], rounded as the pipeline does: to the type of the latent, which after a step is the model's."""
    return torch.stack([state.time.to(state.latent.dtype).float() for state in states])
