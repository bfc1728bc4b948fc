"""Model families behind one protocol. Importing this package does not import torch; `load_model` does.

`describe` reads a checkpoint folder into an `Offer`, `load_model` makes the `Model` that computes it. A new family is
an adapter file with a line in `FAMILIES`, and an entry in readers.py.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from sfumato.models.describe import describe
from sfumato.models.family import Model, Payload, State, Task
from sfumato.models.offer import Offer, Range
from sfumato.models.tokens import count_tokens

FAMILIES = {
    "flux": "sfumato.models.flux:Flux",
    "wan": "sfumato.models.wan:Wan",
    "sd3": "sfumato.models.sd3:SD3",
    "sdxl": "sfumato.models.sdxl:SDXL",
    "cogvideox": "sfumato.models.cogvideox:CogVideoX",
    "hunyuan_video": "sfumato.models.hunyuan_video:HunyuanVideo",
}

__all__ = [
    "FAMILIES",
    "Model",
    "Offer",
    "Payload",
    "Range",
    "State",
    "Task",
    "count_tokens",
    "describe",
    "load_model",
]


def load_model(offer: Offer, device: str = "cpu", dtype: str | None = None) -> Model:
    """The model of `offer` on `device`, with no weights resident yet: `load` them.

    `dtype` is a torch dtype's name; None means float32 on a CPU (fp16 files are converted) and bfloat16 elsewhere.
    Raises CheckpointError where the checkpoint has a variant that the family's adapter cannot run.
    """
    module, _, name = FAMILIES[offer.family].partition(":")
    return cast("Model", getattr(import_module(module), name)(offer, device, dtype))
