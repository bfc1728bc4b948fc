"""A worker process: one rank, one device, one chunk at a time. `python -m sfumato.runtime.worker --fd N`.

Rules: it takes messages in order; between two units it looks for a Stop or a Forget, everything else waits for the end
of the chunk. An exception inside a chunk fails that chunk and no more. When the controller is gone it exits. This
module imports no torch: a paced worker never does, a real one when it has been told its device.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import sys
import time
import traceback
from collections import deque
from contextlib import suppress
from pathlib import Path

from sfumato.core.values import PartId, Shape
from sfumato.models.family import Model, Payload, Task
from sfumato.runtime.chunks import Chunks
from sfumato.runtime.paced import PacedModel
from sfumato.runtime.readahead import files_of, read_ahead
from sfumato.runtime.snapshots import Snapshots, sweep
from sfumato.runtime.wire import (
    Broken,
    DropPart,
    Failed,
    Forget,
    Line,
    LoadPart,
    PartDropped,
    PartLoaded,
    PartLoadFailed,
    Run,
    Setup,
    Stop,
    ToWorker,
    Up,
)


class Worker:
    """The loop over messages, and the weights. What happens inside a chunk is in `chunks`."""

    def __init__(self, line: Line, setup: Setup, models: dict[str, Model]) -> None:
        self._line = line
        self._models = models
        self._waiting: deque[ToWorker] = deque()  # came during a chunk
        snapshots = Snapshots(Path(setup.snapshots))
        foresee = self._foresee if setup.kind == "real" else lambda _: None
        self._chunks = Chunks(line, models, snapshots, setup.snapshot_every_s, self._waiting, setup.device, foresee)

    def serve(self) -> None:
        """Until EOFError: the controller is gone."""
        while True:
            message = self._waiting.popleft() if self._waiting else self._line.receive()
            match message:
                case Run():
                    self._run(message)
                case Forget():
                    self._chunks.forget(message)
                case LoadPart():
                    self._load(message)
                case DropPart(part=part):
                    for model in self._having(part):
                        model.drop([part])
                    _free_memory()
                    self._line.send(PartDropped(part=part))
                case Stop() | Setup():
                    pass  # a Stop for a chunk that has ended meanwhile

    def _run(self, run: Run) -> None:
        received = time.monotonic()
        try:
            self._chunks.run(run, received)
        except (EOFError, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001  the edge of the process: the chunk fails, the worker lives on
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}"
            del error
            self._chunks.drop(run)
            _free_memory()
            self._line.send(Failed(seq=run.seq, reason=reason))

    def _foresee(self, message: ToWorker) -> None:
        """What a message that waits for the end of the chunk will need."""
        if isinstance(message, LoadPart):
            read_ahead(file for model in self._having(message.part) for file in files_of(model.offer, message.part))

    def _load(self, message: LoadPart) -> None:
        began = time.monotonic()
        try:
            for model in self._having(message.part):
                model.load([message.part])
        except Exception as error:  # noqa: BLE001  the edge of the process: the rank is as before
            traceback.print_exc()
            self._line.send(PartLoadFailed(part=message.part, reason=f"{type(error).__name__}: {error}"))
            _free_memory()
            return
        seconds = time.monotonic() - began if message.pace_s is None else message.pace_s
        self._line.send(PartLoaded(part=message.part, seconds=seconds))

    def _having(self, part: PartId) -> list[Model]:
        return [model for model in self._models.values() if part in model.offer.spec.part_bytes]


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


def _free_memory() -> None:
    """Give freed tensors back to the device: another part or job may need the room."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def main() -> None:
    """The process: set up, serve, exit. Whatever goes wrong before `Up` is told to the controller."""
    parser = argparse.ArgumentParser(prog="sfumato.runtime.worker")
    parser.add_argument("--fd", type=int, required=True)
    line = Line(socket.socket(fileno=parser.parse_args().fd))
    with suppress(EOFError, ConnectionError):
        setup = line.receive()
        assert isinstance(setup, Setup)
        try:
            models, up = start(setup)
        except Exception as error:  # noqa: BLE001  the edge of the process: the controller raises it
            traceback.print_exc()
            line.send(Broken(reason=f"{type(error).__name__}: {error}"))
            os._exit(1)
        line.send(up)
        with suppress(EOFError, ConnectionError):
            Worker(line, setup, models).serve()
        sweep(Path(setup.snapshots).parent)  # a controller that was killed could not
    os._exit(0)  # nothing is left to save, and torch takes 0.3 s to tear down


if __name__ == "__main__":
    main()
