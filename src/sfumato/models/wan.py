"""Wan 2.1 and 2.2 text-to-video. The latent is [1, channels, latent frames, h, w] in float32."""

from __future__ import annotations

from typing import Any

import torch

from sfumato.models import coupling, coupling_wan, rows
from sfumato.models.adapter import Adapter
from sfumato.models.family import Task
from sfumato.models.group import Group
from sfumato.models.progress import Pass, Progress, guide_each


class Wan(Adapter):
    """One transformer, or two experts (2.2) of which the second takes the steps below `boundary_ratio`.

    A batch may be on both sides of the boundary; each side is then a pass of its own.
    """

    precise = ("vae",)  # its causal convolutions are published for float32
    packs = True
    reuses = True

    def configure(self, pipe: Any) -> None:
        vae = self.configs["vae"]
        pipe.vae_scale_factor_temporal = vae.get("scale_factor_temporal", 4)
        pipe.vae_scale_factor_spatial = vae.get("scale_factor_spatial", 8)

    def condition(self, prompts: list[str]) -> list[dict[str, torch.Tensor]]:
        embeds, _ = self.pipe.encode_prompt(
            prompts,
            do_classifier_free_guidance=False,
            max_sequence_length=self.offer.max_prompt_tokens,
            device=self.device,
            dtype=self.dtype,
        )
        return [{"embeds": embeds[i : i + 1].clone()} for i in range(len(prompts))]

    def start(self, task: Task, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        channels, shape = self.configs["transformer"]["in_channels"], task.shape
        size = shape.height, shape.width, shape.frames
        return self.pipe.prepare_latents(1, channels, *size, torch.float32, self.device, generator), {}

    def schedule(self, scheduler: Any, task: Task) -> None:
        scheduler.set_timesteps(task.steps, device=self.device)

    def predict(self, states: list[Progress]) -> torch.Tensor:
        experts = [self._expert(state) for state in states]
        if len(set(experts)) == 1:
            return self._predict(experts[0], states)
        noise: dict[int, torch.Tensor] = {}
        for expert in sorted(set(experts)):
            members = [i for i, name in enumerate(experts) if name == expert]
            predicted = self._predict(expert, [states[i] for i in members])
            noise |= {i: predicted[k : k + 1] for k, i in enumerate(members)}
        return torch.cat([noise[i] for i in range(len(states))])

    def predict_packed(self, passes: list[Pass], group: Group | None, across: Group | None) -> list[torch.Tensor]:
        experts = [self._expert(one.state) for one in passes]
        noise: dict[int, torch.Tensor] = {}
        for expert in sorted(set(experts)):
            members = [i for i, name in enumerate(experts) if name == expert]
            predicted = coupling_wan.predict(
                getattr(self.pipe, expert),
                latents=[passes[i].state.latent.to(self.dtype) for i in members],
                texts=[passes[i].text("embeds") for i in members],
                times=torch.stack([passes[i].state.time for i in members]),
                group=group,
                across=across,
                reuse=self.reuse([passes[i] for i in members], expert),
            )
            # `across` gives the same members once more for each run of ranks
            places = [i + run for run in range(0, len(passes) * (2 if across else 1), len(passes)) for i in members]
            noise |= dict(zip(places, predicted, strict=True))
        return [noise[i] for i in range(len(noise))]

    def _expert(self, state: Progress) -> str:
        ratio = self.index.get("boundary_ratio")
        if ratio is None:
            return "transformer"
        boundary = ratio * state.sampler.scheduler.config.num_train_timesteps
        return "transformer" if state.time >= boundary else "transformer_2"

    def _predict(self, expert: str, states: list[Progress]) -> torch.Tensor:
        latents = torch.cat([state.latent.to(self.dtype) for state in states])
        times = torch.stack([self._time(state) for state in states])
        positive = self._forward(expert, states, latents, times, "embeds")
        if not states[0].guided:
            return positive
        negative = self._forward(expert, states, latents, times, "negative_embeds")
        return torch.cat(self.combine(states, list(positive.split(1)), list(negative.split(1))))

    def combine(
        self, states: list[Progress], positive: list[torch.Tensor], negative: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        return guide_each(states, positive, negative, self._scale)

    def _scale(self, state: Progress) -> float:
        """Guidance of the next step, by the expert that takes it."""
        payload = state.task.payload
        if payload.guidance_2 is None or self._expert(state) == "transformer":
            return payload.guidance
        return payload.guidance_2

    def _time(self, state: Progress) -> torch.Tensor:
        """The timestep as the transformer takes it: a scalar, or one a token (2.2's 5B model, for its image inputs)."""
        if not self.index.get("expand_timesteps"):
            return state.time
        mask = torch.ones(state.latent.shape[2:], dtype=torch.float32, device=self.device)
        return (mask[:, ::2, ::2] * state.time).flatten()

    def _forward(
        self, expert: str, states: list[Progress], latents: torch.Tensor, times: torch.Tensor, text: str
    ) -> torch.Tensor:
        return getattr(self.pipe, expert)(  # type: ignore[no-any-return]
            hidden_states=latents,
            timestep=times,
            encoder_hidden_states=torch.cat([state.conditioning[text] for state in states]),
            return_dict=False,
        )[0]

    def decode_unit(self, state: Progress) -> tuple[torch.Tensor, bool]:
        return self.decode_rows(state, None)

    def decode_rows(self, state: Progress, group: Group | None) -> tuple[torch.Tensor, bool]:
        """A unit that fails has spoilt the cache, which the next try makes anew: a copy of it would take gigabytes."""
        place = (group.rank, group.size) if group else (0, 1)
        if state.decoding is None or state.decoding[0] != place:
            latents = self.pipe.vae.post_quant_conv(self._scaled(state.latent))
            cache = coupling.wan_decode_cache(self.pipe.vae)
            for frame in range(state.decoded):  # the cache of another degree holds other rows
                self._decode_frame(latents, frame, cache, group)
        else:
            _, latents, cache = state.decoding
        state.decoding = None
        pixels = self._decode_frame(latents, state.decoded, cache, group)
        state.decoding = place, latents, cache
        return pixels[0].permute(1, 0, 2, 3), state.decoded + 1 == state.latent.shape[2]

    def _decode_frame(self, latents: torch.Tensor, frame: int, cache: list[Any], group: Group | None) -> torch.Tensor:
        vae = self.pipe.vae
        return rows.spread(lambda own: coupling.wan_decode_frame(vae, own, frame, cache), latents, group)

    def _scaled(self, latent: torch.Tensor) -> torch.Tensor:
        """The latent as the VAE takes it; in the pipeline's order of operations, which decides the last bits."""
        vae = self.pipe.vae
        latent = latent.to(vae.dtype)
        mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1).to(latent)
        inverse = 1.0 / torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1).to(latent)
        return latent / inverse + mean
