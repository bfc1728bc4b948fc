"""The part of a model that all diffusers families share: weights, the batch rules, freezing. See `family.Model`.

A family adds how it encodes, predicts and decodes, from the public methods of its pipeline; `pipe(...)` is the oracle
that the split must equal, bit for bit at batch 1 (tests/models).
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import diffusers
import msgspec
import numpy as np
import torch
from safetensors import SafetensorError

from sfumato.core.values import PartId
from sfumato.errors import CheckpointError
from sfumato.models import blob, coupling
from sfumato.models.family import Model, State, Task
from sfumato.models.group import Group
from sfumato.models.offer import Offer
from sfumato.models.parts import read_json
from sfumato.models.progress import Bare, Pass, Progress, Sampler, guide_each
from sfumato.models.readers import READERS
from sfumato.models.reuse import Reuse
from sfumato.models.reuse_rules import read_habits


class Adapter(Model):
    """A diffusers pipeline, held with the weights that were loaded, and used stage by stage."""

    # Components that are kept in float32 on every device.
    precise: tuple[str, ...] = ()
    # Whether there is a `predict_packed`: batches of unlike states, and groups.
    packs = False
    # Whether `predict_packed` asks `reuse` which tokens it computes.
    reuses = False

    def __init__(self, offer: Offer, device: str = "cpu", dtype: str | None = None) -> None:
        self._offer = offer
        self.device = torch.device(device)
        default = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        self.dtype: torch.dtype = getattr(torch, dtype) if dtype else default
        folder = Path(offer.path)
        self.configs = {name: read_json(folder / name / "config.json") for name in offer.components}
        self.index = read_json(folder / "model_index.json")
        self.rules = read_habits(folder).rules
        self._pipe: Any = None

    # What a family says.

    def configure(self, pipe: Any) -> None:
        """Set on a new pipe what it would have derived from components that may not be loaded."""
        raise NotImplementedError

    def condition(self, prompts: list[str]) -> list[dict[str, torch.Tensor]]:
        """The text conditioning of each prompt, each tensor [1, ...]."""
        raise NotImplementedError

    def start(self, task: Task, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The initial latent [1, ...] and conditioning that follows from the shape."""
        raise NotImplementedError

    def schedule(self, scheduler: Any, task: Task) -> None:
        """Set the timesteps of a request's own scheduler."""
        raise NotImplementedError

    def predict(self, states: list[Progress]) -> torch.Tensor:
        """The model's prediction for the next step of each state of a plain batch, guidance applied: [B, ...].

        In a plain batch all states have one shape, as have their conditionings, and all are guided or all not.
        """
        raise NotImplementedError

    def predict_packed(self, passes: list[Pass], group: Group | None, across: Group | None) -> list[torch.Tensor]:
        """The model's prediction [1, ...] for each of `passes`, which may be unlike; on a group with all its members.

        With `across` other runs of that group predict other passes of the same states: theirs are returned too, those
        of the first run first (see `sequence.Pack.gather`).
        """
        raise NotImplementedError

    def combine(
        self, states: list[Progress], positive: list[torch.Tensor], negative: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        """Guidance of packed predictions [1, ...]; `negative` has one for each guided state."""
        return guide_each(states, positive, negative)

    def decode_unit(self, state: Progress) -> tuple[torch.Tensor, bool]:
        """Pixels [frames, 3, H, W] in -1..1 of the next unit, and whether it is the last."""
        raise NotImplementedError

    def decode_rows(self, state: Progress, group: Group) -> tuple[torch.Tensor, bool]:  # noqa: ARG002
        """As `decode_unit`, with the rows of the picture shared among the members; by default each takes them all."""
        return self.decode_unit(state)

    # Weights.

    @property
    def offer(self) -> Offer:
        return self._offer

    @property
    def pipe(self) -> Any:
        """The pipeline. RuntimeError before the first `load`."""
        if self._pipe is None:
            raise RuntimeError(f"no part of {self.offer.name} is loaded")
        return self._pipe

    @property
    def resident(self) -> frozenset[PartId]:
        return frozenset(part for name, part in self.offer.components.items() if self._holds(name))

    def _holds(self, component: str) -> bool:
        return getattr(self._pipe, component, None) is not None

    def _named(self, parts: Iterable[PartId]) -> list[str]:
        wanted = set(parts)
        unknown = wanted - set(self.offer.components.values())
        if unknown:
            raise CheckpointError(f"model: {self.offer.name} has no part {', '.join(sorted(unknown))}", field="model")
        return [name for name, part in self.offer.components.items() if part in wanted]

    def load(self, parts: Iterable[PartId], others: Iterable[Model] = ()) -> None:
        missing = [name for name in self._named(parts) if not self._holds(name)]
        if not missing and self._pipe is not None:
            return
        there = {key: module for other in others if isinstance(other, Adapter) for key, module in other._held().items()}
        shared = {name: there[self._key(name)] for name in missing if self._key(name) in there}
        absent = [name for name in missing if name not in shared]
        if self._pipe is None:
            self._pipe = self._fetch(absent)
            self.configure(self._pipe)
        elif absent:
            fetched = self._fetch(absent)
            self._pipe.register_modules(**{name: getattr(fetched, name) for name in absent})
        self._pipe.register_modules(**shared)

    def _key(self, component: str) -> tuple[PartId, torch.device, bool, torch.dtype]:
        """What two models may share: the same weights in the same place and type."""
        return self.offer.components[component], self.device, component in self.precise, self.dtype

    def _held(self) -> dict[Any, Any]:
        """The modules of resident components."""
        return {self._key(name): getattr(self._pipe, name) for name in self.offer.components if self._holds(name)}

    def _fetch(self, components: list[str]) -> Any:
        """A pipeline that holds of all weights only `components`; it shares the tokenizers of the first."""
        skipped: dict[str, Any] = {name: None for name in self.offer.components if name not in components}
        if self._pipe is not None:
            held = self._pipe.components
            skipped |= {name: held[name] for name in held if name not in self.offer.components}
        dtypes = {"default": self.dtype} | dict.fromkeys(self.precise, torch.float32)
        try:
            with coupling.quiet():
                # by its own class: DiffusionPipeline.from_pretrained would load Wan's transformer though it is skipped
                pipeline = getattr(diffusers, READERS[self.offer.family].pipeline)
                pipe = pipeline.from_pretrained(self.offer.path, dtype=dtypes, local_files_only=True, **skipped)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            message = f"model: cannot load {', '.join(components)} from {self.offer.path} ({error}); restore the files"
            raise CheckpointError(message, field="model") from error
        return pipe.to(self.device)

    def drop(self, parts: Iterable[PartId]) -> None:
        held = [name for name in self._named(parts) if self._holds(name)]
        if not held:
            return
        self._pipe.register_modules(**dict.fromkeys(held))
        gc.collect()  # the modules hold reference cycles; without it their memory stays until some later collection
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    # Stages.

    @torch.inference_mode()
    def encode(self, tasks: Sequence[Task]) -> list[State]:
        guided = [self.offer.guided(task.payload.guidance) for task in tasks]
        positive = self.condition([task.payload.prompt for task in tasks])
        # its own call, because that is what the pipelines do: one batch of both would differ in the last bits
        unwanted = [task.payload.negative_prompt for task, two in zip(tasks, guided, strict=True) if two]
        negative = iter(self.condition(unwanted) if unwanted else [])
        states: list[State] = []
        for task, two, text in zip(tasks, guided, positive, strict=True):
            other = {f"negative_{name}": tensor for name, tensor in next(negative).items()} if two else {}
            generator = torch.Generator("cpu").manual_seed(task.seed)
            latent, placed = self.start(task, generator)
            sampler = self._sampler(task, generator)
            conditioning = text | other | placed
            states.append(Progress(task=task, guided=two, conditioning=conditioning, latent=latent, sampler=sampler))
        return states

    def _sampler(self, task: Task, generator: torch.Generator) -> Sampler:
        scheduler = type(self.pipe.scheduler).from_config(self.pipe.scheduler.config)
        self.schedule(scheduler, task)
        return Sampler(scheduler, generator)

    @torch.inference_mode()
    def step(self, states: Sequence[State], group: Group | None = None, cfg: int = 1) -> None:
        batch = cast("list[Progress]", list(states))
        if any(state.done >= state.sampler.steps for state in batch):
            raise ValueError("a state of the batch has no step left")
        reusing = self.reuses and any(state.task.payload.quality in self.rules for state in batch)
        if (group is None or group.size == 1) and len({_form(state) for state in batch}) == 1 and not reusing:
            predicted = list(torch.split(self.predict(batch), 1))
        elif self.packs:
            predicted = self._predict_packed(batch, group, cfg)
        else:
            raise ValueError(f"{self.offer.family} takes batches of one shape, all guided or all not, and no groups")
        for state, noise in zip(batch, predicted, strict=True):
            state.advance(noise)

    def reuse(self, passes: list[Pass], model: str = "transformer") -> Reuse | None:
        """What decides for these passes through that component; None where all are to be exact."""
        wanted = any(one.state.task.payload.quality in self.rules for one in passes)
        return Reuse(passes, self.rules, model) if wanted else None

    def _predict_packed(self, states: list[Progress], group: Group | None, cfg: int) -> list[torch.Tensor]:
        positive = [Pass(state) for state in states]
        negative = [Pass(state, negative=True) for state in states if state.guided]
        if cfg == 1:
            predicted = self.predict_packed(positive + negative, group, None)
        elif group is None or cfg != 2 or group.size % 2 or len(negative) < len(positive):
            raise ValueError("guided and unguided passes side by side take two halves of a group and guided states")
        else:
            own = positive if group.rank < group.size // 2 else negative
            predicted = self.predict_packed(own, group.split(2) if group.size > 2 else None, group)
        return self.combine(states, predicted[: len(states)], predicted[len(states) :])

    @torch.inference_mode()
    def decode(self, state: State, group: Group | None = None) -> bool:
        progress = cast("Progress", state)
        progress.shed()  # no step follows that could use it
        alone = group is None or group.size == 1
        pixels, last = self.decode_unit(progress) if alone else self.decode_rows(progress, cast("Group", group))
        progress.frames.append(_to_uint8(pixels))
        progress.decoded += 1
        if last:
            progress.decoding = None
        return last

    def output(self, state: State) -> np.ndarray:
        progress, shape = cast("Progress", state), state.task.shape
        empty = np.empty((0, shape.height, shape.width, 3), dtype=np.uint8)
        return np.concatenate(progress.frames) if progress.frames else empty

    # Freezing.

    def freeze_static(self, state: State) -> bytes:
        progress = cast("Progress", state)
        return blob.pack({"task": msgspec.to_builtins(progress.task), "conditioning": progress.conditioning})

    def freeze(self, state: State) -> bytes:
        progress = cast("Progress", state)
        return blob.pack({"latent": progress.latent, "done": progress.done, "sampler": progress.sampler.freeze()})

    @torch.inference_mode()
    def thaw(self, static: bytes | State, dynamic: bytes) -> State:
        moved = blob.unpack(dynamic, self.device)
        if isinstance(static, bytes):
            fixed = blob.unpack(static, self.device)
            task, conditioning = msgspec.convert(fixed["task"], Task), fixed["conditioning"]
        else:
            task, conditioning = static.task, cast("Bare | Progress", static).conditioning
        sampler = self._sampler(task, torch.Generator("cpu"))
        sampler.restore(moved["sampler"])
        return Progress(
            task=task,
            guided=self.offer.guided(task.payload.guidance),
            conditioning=conditioning,
            latent=moved["latent"],
            sampler=sampler,
            done=moved["done"],
        )


def _form(state: Progress) -> tuple[Any, ...]:
    """What the states of a plain batch have in common."""
    held = sorted((name, tensor.shape) for name, tensor in state.conditioning.items())
    return state.task.shape, state.guided, *held


def _to_uint8(pixels: torch.Tensor) -> np.ndarray:
    """Pixels [frames, 3, H, W] in -1..1 as uint8 [frames, H, W, 3], rounded as diffusers' numpy_to_pil does."""
    unit = (pixels * 0.5 + 0.5).clamp(0, 1).cpu().permute(0, 2, 3, 1).float().numpy()
    return (unit * 255).round().astype(np.uint8)
