"""CogVideoX 1.0 (2B, 5B) and 1.5 text-to-video. The latent is [1, latent frames, channels, h, w]."""

from __future__ import annotations

from math import cos, pi
from typing import Any

import torch

from sfumato.models import coupling_cogvideox as coupling
from sfumato.models import rows
from sfumato.models.adapter import Adapter
from sfumato.models.family import Task
from sfumato.models.group import Group
from sfumato.models.progress import Pass, Progress, guide_each


class CogVideoX(Adapter):
    """Text has the length that the model was trained with; 1.5 takes latent frames in pairs and adds one if need be."""

    packs = True

    def configure(self, pipe: Any) -> None:
        vae = self.configs["vae"]
        pipe.vae_scale_factor_temporal = self._stride
        pipe.vae_scale_factor_spatial = 2 ** (len(vae["block_out_channels"]) - 1)

    @property
    def _stride(self) -> int:
        return int(self.configs["vae"].get("temporal_compression_ratio", 4))

    def condition(self, prompts: list[str]) -> list[dict[str, torch.Tensor]]:
        embeds, _ = self.pipe.encode_prompt(
            prompts,
            do_classifier_free_guidance=False,
            max_sequence_length=self.configs["transformer"].get("max_text_seq_length", 226),
            device=self.device,
        )
        return [{"embeds": embeds[i : i + 1].clone()} for i in range(len(prompts))]

    def start(self, task: Task, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        channels, shape = self.configs["transformer"]["in_channels"], task.shape
        size = shape.frames + self._added(task) * self._stride, shape.height, shape.width
        return self.pipe.prepare_latents(1, channels, *size, self.dtype, self.device, generator), {}

    def _added(self, task: Task) -> int:
        """Latent frames in front that fill up the first patch and are not shown."""
        deep = self.configs["transformer"].get("patch_size_t")
        return -((task.shape.frames - 1) // self._stride + 1) % deep if deep else 0

    def schedule(self, scheduler: Any, task: Task) -> None:
        scheduler.set_timesteps(task.steps, device=self.device)
        scheduler.timesteps = scheduler.timesteps[: task.steps]  # rounding gives 62 for 61 steps, the last of them -1

    def predict(self, states: list[Progress]) -> torch.Tensor:
        """Both sides of the guidance are one batch, as in the pipeline."""
        passes = [Pass(state, negative=True) for state in states if state.guided] + [Pass(state) for state in states]
        latents = torch.cat([one.state.latent for one in passes])
        noise = self.pipe.transformer(
            hidden_states=latents,
            encoder_hidden_states=torch.cat([one.text("embeds") for one in passes]),
            timestep=torch.stack([one.state.time for one in passes]),
            image_rotary_emb=coupling.rotary(self.pipe.transformer.config, latents),
            return_dict=False,
        )[0].float()
        negative, positive = noise[: -len(states)], noise[-len(states) :]
        return torch.cat(self.combine(states, list(positive.split(1)), list(negative.split(1))))

    def predict_packed(self, passes: list[Pass], group: Group | None, across: Group | None) -> list[torch.Tensor]:
        predicted = coupling.predict(
            self.pipe.transformer,
            latents=[one.state.latent for one in passes],
            texts=[one.text("embeds") for one in passes],
            times=torch.stack([one.state.time for one in passes]),
            group=group,
            across=across,
        )
        return [noise.float() for noise in predicted]

    def combine(
        self, states: list[Progress], positive: list[torch.Tensor], negative: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        return guide_each(states, positive, negative, self._scale)

    def _scale(self, state: Progress) -> float:
        """Guidance of the next step; a dynamic one follows the pipeline's rule for it."""
        scale, steps = state.task.payload.guidance, state.task.steps
        if not self.offer.dynamic_guidance:
            return scale
        return 1 + scale * ((1 - cos(pi * ((steps - state.time.item()) / steps) ** 5.0)) / 2)

    def decode_unit(self, state: Progress) -> tuple[torch.Tensor, bool]:
        return self.decode_rows(state, None)

    def decode_rows(self, state: Progress, group: Group | None) -> tuple[torch.Tensor, bool]:
        """The cache of a piece that fails is thrown away with it."""
        vae, place = self.pipe.vae, (group.rank, group.size) if group else (0, 1)
        if state.decoding is None or state.decoding[0] != place:
            latents = 1 / vae.config.scaling_factor * state.latent[:, self._added(state.task) :].permute(0, 2, 1, 3, 4)
            cache = None
            for index in range(state.decoded):  # the cache of another place holds other rows
                _, cache = self._decode_piece(latents, index, cache, group)
        else:
            _, latents, cache = state.decoding
        pixels, cache = self._decode_piece(latents, state.decoded, cache, group)
        state.decoding = place, latents, cache
        return pixels[0].permute(1, 0, 2, 3), state.decoded + 1 == coupling.pieces(vae, latents.shape[2])

    def _decode_piece(
        self, latents: torch.Tensor, index: int, cache: Any, group: Group | None
    ) -> tuple[torch.Tensor, Any]:
        def decode(own: torch.Tensor) -> torch.Tensor:
            nonlocal cache
            pixels, cache = coupling.decode_piece(self.pipe.vae, own, index, cache)
            return pixels

        return rows.spread(decode, latents, group), cache
