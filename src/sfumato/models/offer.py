"""What a model can be asked for: its limits and defaults, checked before a request is accepted.

Every refusal is a RequestError whose message names the field and says what would be accepted.
"""

from __future__ import annotations

from math import ceil

from sfumato.core.values import ModelSpec, PartId, Shape, Value
from sfumato.errors import RequestError
from sfumato.models.family import Quality


class Range(Value, frozen=True, kw_only=True):
    """The whole numbers min, min + step, ... max."""

    min: int
    max: int
    step: int = 1

    def __contains__(self, number: int) -> bool:
        return self.min <= number <= self.max and (number - self.min) % self.step == 0

    def nearest(self, number: float) -> int:
        """The offered number next to `number`; of two equally near the smaller."""
        steps = max(0, ceil((number - self.min) / self.step - 0.5))
        return min(self.min + steps * self.step, self.last)

    @property
    def last(self) -> int:
        """The largest number that is offered."""
        return self.min + (self.max - self.min) // self.step * self.step


class Offer(Value, frozen=True, kw_only=True):
    """A model that can be served: its spec for the planner, where it lies, its limits and defaults.

    `sizes` holds for width and height each, in pixels, and `max_pixels` for their product. `components` names the
    weight part of each component of the checkpoint. `distilled` models take guidance as an input, in one pass a step;
    with `dynamic_guidance` it changes from step to step by the rule of the family. Where there is `second_guidance` the
    steps of a second expert may have their own. `qualities` are those of the family.
    """

    spec: ModelSpec
    family: str
    path: str
    modality: str
    sizes: Range
    frames: Range
    max_pixels: int
    default_shape: Shape
    default_steps: int
    default_guidance: float
    max_steps: int = 200
    max_prompt_tokens: int = 512
    max_guidance: float = 30.0
    fps: int = 1
    distilled: bool = False
    dynamic_guidance: bool = False
    second_guidance: bool = False
    qualities: tuple[Quality, ...] = ("exact",)
    components: dict[str, PartId]

    @property
    def name(self) -> str:
        return self.spec.name

    def guided(self, guidance: float) -> bool:
        """Whether a request with this guidance takes two model passes a step."""
        return guidance > 1.0 and not self.distilled

    def check(
        self,
        *,
        shape: Shape,
        steps: int,
        guidance: float | None = None,
        guidance_2: float | None = None,
        prompt: str | None = None,
        negative_prompt: str = "",
    ) -> None:
        """Raise RequestError unless this can be asked for; no `guidance` is the default, no `prompt` is unchecked."""
        self.check_size(shape)
        self.check_frames(shape.frames)
        self.check_steps(steps)
        guidance = self.default_guidance if guidance is None else guidance
        self.check_guidance(guidance, negative_prompt)
        if guidance_2 is not None:
            self.check_guidance_2(guidance_2, guidance)
        for field, text in (("prompt", prompt), ("negative_prompt", negative_prompt)):
            if text:
                self.check_prompt(text, field)

    def check_size(self, shape: Shape) -> None:
        """Width and height within `sizes`, and no more than `max_pixels` together."""
        asked = f"size: {shape.width}x{shape.height} is not offered by {self.name};"
        if shape.width not in self.sizes or shape.height not in self.sizes:
            allowed = f"multiples of {self.sizes.step} from {self.sizes.min} to {self.sizes.last}"
            raise RequestError(f"{asked} width and height must be {allowed}", field="size")
        if shape.width * shape.height > self.max_pixels:
            raise RequestError(f"{asked} width x height must be at most {self.max_pixels} pixels", field="size")

    def check_frames(self, frames: int) -> None:
        """The number of frames that a video has, 1 for an image."""
        if frames in self.frames:
            return
        asked = f"num_frames: {frames} is not offered by {self.name};"
        if self.frames.last == 1:
            raise RequestError(f"{asked} it makes images, leave it out", field="num_frames")
        first, last, step = self.frames.min, self.frames.last, self.frames.step
        hint = f"{first}, {first + step}, ... {last}" if step > 1 else f"{first} to {last}"
        near = self.frames.nearest(frames)
        message = f"{asked} use one of {hint}, e.g. {near} ({near / self.fps:.2f} seconds at {self.fps} frames/s)"
        raise RequestError(message, field="num_frames")

    def check_steps(self, steps: int) -> None:
        """Denoising steps from 1 to `max_steps`."""
        if not 1 <= steps <= self.max_steps:
            message = f"steps: {steps} is not offered by {self.name}; use 1 to {self.max_steps}"
            raise RequestError(message, field="steps")

    def check_guidance(self, guidance: float, negative_prompt: str = "") -> None:
        """Guidance from 0 to `max_guidance`; a negative prompt needs a guided request."""
        if not 0.0 <= guidance <= self.max_guidance:  # also refuses NaN
            message = f"guidance: {guidance} is not offered by {self.name}; use 0 to {self.max_guidance:g}"
            raise RequestError(message, field="guidance")
        if negative_prompt and not self.guided(guidance):
            fix = "leave it out" if self.distilled else "leave it out or set guidance above 1"
            raise RequestError(f"negative_prompt: {self.name} would ignore it here; {fix}", field="negative_prompt")

    def check_guidance_2(self, guidance_2: float, guidance: float) -> None:
        """Of a model with two experts, for a guided request, from 0 to `max_guidance`."""
        fix = ""
        if not self.second_guidance:
            fix = "it has no second expert, leave it out"
        elif not self.guided(guidance):
            fix = "leave it out or set guidance above 1"
        elif not 0.0 <= guidance_2 <= self.max_guidance:
            fix = f"use 0 to {self.max_guidance:g}"
        if fix:
            message = f"guidance_2: {guidance_2} is not offered by {self.name} here; {fix}"
            raise RequestError(message, field="guidance_2")

    def check_quality(self, quality: str) -> None:
        """One of `qualities`: a family that does not reuse between steps has only "exact"."""
        if quality not in self.qualities:
            allowed = ", ".join(self.qualities)
            raise RequestError(f"quality: {quality!r} is not offered by {self.name}; use {allowed}", field="quality")

    def check_prompt(self, prompt: str, field: str = "prompt") -> None:
        """No more tokens than the text encoder reads; unchecked where the tokenizer cannot be read without torch."""
        from sfumato.models.tokens import count_tokens

        tokens = count_tokens(self, prompt)
        if tokens is not None and tokens > self.max_prompt_tokens:
            message = f"{field}: {tokens} tokens are more than the {self.max_prompt_tokens} that {self.name} reads"
            raise RequestError(f"{message}; shorten it", field=field)

    def frames_for(self, seconds: float) -> int:
        """The offered number of frames next to `seconds` of video."""
        return self.frames.nearest(seconds * self.fps)
