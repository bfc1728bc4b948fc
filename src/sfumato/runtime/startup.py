"""A worker's start: its models made, their weights loaded, everything lazy done once, so that it can say `Up`."""

from __future__ import annotations

import gc
import os

from sfumato.core.values import Shape
from sfumato.models.family import Model, Payload, Task
from sfumato.runtime.paced import PacedModel
from sfumato.runtime.wire import Setup, Up


def start(setup: Setup) -> tuple[dict[str, Model], Up]:
    """Load and warm up what `setup` asks for."""
    if setup.kind == "paced":
        models: dict[str, Model] = {offer.name: PacedModel(offer) for offer in setup.offers}
    else:
        _settle(setup)
        from sfumato.models import load_model

        models = {offer.name: load_model(offer, setup.device, setup.dtype) for offer in setup.offers}
    for model in models.values():
        known = model.offer.spec.part_bytes
        model.load([part for part in known if setup.parts is None or part in setup.parts])
        if setup.kind == "real" and model.resident >= set(known):
            _warm_up(model)
    if setup.kind == "real" and setup.device == "cpu":
        os.nice(setup.nice)  # below the controller, which they would otherwise keep from handing out work
    gc.collect()
    gc.freeze()  # what is there now stays: later collections need not look at it
    parts = tuple(sorted({part for model in models.values() for part in model.resident}))
    return models, Up(pid=os.getpid(), memory_bytes=setup.memory_bytes or _memory_bytes(setup), parts=parts)


def _settle(setup: Setup) -> None:
    """Everything that must be so before torch is imported, and the number of its threads."""
    os.environ.update(OMP_NUM_THREADS=str(setup.threads), TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
    import torch

    torch.set_num_threads(setup.threads)


def _warm_up(model: Model) -> None:
    """One tiny request, so that the first real one does not pay for lazy initialisation."""
    offer = model.offer
    shape = Shape(height=offer.sizes.min, width=offer.sizes.min, frames=offer.frames.min)
    payload = Payload(prompt="a", guidance=offer.default_guidance)
    (state,) = model.encode([Task(id="warm-up", shape=shape, steps=2, seed=0, payload=payload)])
    for _ in range(2):
        model.step([state])
    model.thaw(model.freeze_static(state), model.freeze(state))
    while not model.decode(state):
        pass
    model.output(state)


def _memory_bytes(setup: Setup) -> int:
    """What weights and jobs may take: 0.9 of a device's memory, or this rank's share of 0.8 of the machine's."""
    if setup.kind == "real" and setup.device != "cpu":
        import torch

        return int(torch.cuda.mem_get_info(setup.device)[1] * 0.9)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(total * 0.8) // setup.ranks
