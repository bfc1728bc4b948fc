"""A worker's start: its models made, their weights loaded, everything lazy done once, so that it can say `Up`.

Unless it is told what to load, a rank that cannot hold all models begins with some of them whole, and its neighbour
with the next ones; the planner changes that by what is asked for.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence

from sfumato.core.values import PartId, Rank, Shape
from sfumato.models.family import Model, Payload, Task
from sfumato.models.offer import Offer
from sfumato.runtime.paced import PacedModel
from sfumato.runtime.wire import Setup, Up

WEIGHTS = 2 / 3  # of the memory that a rank fills with weights by itself


def start(setup: Setup) -> tuple[dict[str, Model], Up]:
    """Load and warm up what `setup` asks for."""
    if setup.kind == "paced":
        models: dict[str, Model] = {offer.name: PacedModel(offer) for offer in setup.offers}
    else:
        _settle(setup)
        from sfumato.models import load_model

        models = {offer.name: load_model(offer, setup.device, setup.dtype) for offer in setup.offers}
    memory_bytes = setup.memory_bytes or _memory_bytes(setup)
    chosen = setup.parts if setup.parts is not None else first_parts(setup.offers, setup.rank, memory_bytes)
    for model in models.values():
        known = model.offer.spec.part_bytes
        model.load([part for part in known if part in chosen], models.values())
        if setup.kind == "real" and model.resident >= set(known):
            _warm_up(model)
    if setup.kind == "real" and setup.device == "cpu":
        os.nice(setup.nice)  # below the controller, which they would otherwise keep from handing out work
    gc.collect()
    gc.freeze()  # what is there now stays: later collections need not look at it
    parts = tuple(sorted({part for model in models.values() for part in model.resident}))
    return models, Up(pid=os.getpid(), memory_bytes=memory_bytes, parts=parts)


def first_parts(offers: Sequence[Offer], rank: Rank, memory_bytes: int) -> set[PartId]:
    """All weights where they leave a third of the memory to requests; else of whole models as many as do."""
    chosen: dict[PartId, int] = {}
    for place in range(len(offers)):
        both = chosen | offers[(rank + place) % len(offers)].spec.part_bytes
        if sum(both.values()) <= WEIGHTS * memory_bytes:
            chosen = both
    return set(chosen)


def _settle(setup: Setup) -> None:
    """Everything that must be so before torch is imported, the number of its threads, and the GPU that it works on."""
    os.environ.update(OMP_NUM_THREADS=str(setup.threads), TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
    import torch

    torch.set_num_threads(setup.threads)
    if setup.device != "cpu":  # else pinned memory would make each worker known to the first GPU
        torch.cuda.set_device(setup.device)


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
