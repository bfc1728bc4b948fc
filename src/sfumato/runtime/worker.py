"""A worker process: one rank, one device, one chunk at a time. `python -m sfumato.runtime.worker --fd N`.

Rules: it takes messages in order; between two units it looks for a Stop or a Forget, everything else waits for the end
of the chunk. An exception inside a chunk fails that chunk and no more. When the controller is gone it exits. This
module imports no torch: a paced worker never does, a real one when it has been told its device.
"""

from __future__ import annotations

import argparse
import os
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sfumato.core.values import PartId
from sfumato.models.family import Model
from sfumato.models.group import GroupBroken
from sfumato.runtime.chunks import Chunks
from sfumato.runtime.groups import FOLDER, Carrier, Groups
from sfumato.runtime.held import Held
from sfumato.runtime.lines import Line
from sfumato.runtime.meshed import MeshedGroup
from sfumato.runtime.meshes import Mesh
from sfumato.runtime.readahead import files_of, read_ahead
from sfumato.runtime.snapshots import Snapshots, sweep
from sfumato.runtime.startup import start
from sfumato.runtime.units import exhausted, free_memory
from sfumato.runtime.wire import (
    Broken,
    DropPart,
    Failed,
    Forget,
    Leave,
    LoadPart,
    Meet,
    PartDropped,
    PartLoaded,
    PartLoadFailed,
    Run,
    Setup,
    Severed,
    Stop,
    ToWorker,
)

_MEET_S = 10.0


class Worker:
    """The loop over messages, and the weights. What happens inside a chunk is in `chunks`."""

    def __init__(self, line: Line, setup: Setup, models: dict[str, Model]) -> None:
        self._line = line
        self._models = models
        self._waiting: deque[ToWorker] = deque()  # came during a chunk
        self._held = Held(Snapshots(Path(setup.snapshots)))
        self._groups = _groups(setup)
        self._chunks = Chunks(
            line,
            models,
            self._held,
            self._groups,
            self._waiting,
            device=setup.device,
            snapshot_every_s=setup.snapshot_every_s,
            foresee=self._foresee if setup.kind == "real" else lambda _: None,
            finish=_finish(setup),
        )

    def serve(self) -> None:
        """Until EOFError: the controller is gone."""
        while True:
            message = self._waiting.popleft() if self._waiting else self._line.receive()
            match message:
                case Run():
                    self._run(message)
                case Forget():
                    self._held.forget(message)
                case Meet():
                    self._meet(message)
                case Leave(ranks=ranks):
                    self._groups.leave(ranks)
                case LoadPart():
                    self._load(message)
                case DropPart(part=part):
                    for model in self._having(part):
                        model.drop([part])
                    free_memory()
                    self._line.send(PartDropped(part=part))
                case Stop() | Setup():
                    pass  # a Stop for a chunk that has ended meanwhile

    def _run(self, run: Run) -> None:
        received = time.monotonic()
        try:
            while (then := self._chunks.run(run, received)) is not None:
                run, received = then, time.monotonic()
        except (EOFError, ConnectionError):
            raise
        except GroupBroken:
            self._chunks.abandon(run)
            self._line.send(Severed(seq=run.seq))
        except Exception as error:  # noqa: BLE001  the edge of the process: the chunk fails, the worker lives on
            traceback.print_exc()
            failed = Failed(seq=run.seq, reason=f"{type(error).__name__}: {error}", exhausted=exhausted(error))
            del error
            self._chunks.abandon(run)
            if failed.exhausted:
                self._held.shed()
            free_memory()
            self._line.send(failed)

    def _meet(self, message: Meet) -> None:
        """Nobody waits long for who does not come: the group is made when it is needed."""
        ends = time.monotonic() + _MEET_S
        with suppress(GroupBroken):
            self._groups.of(message.group, message.ranks, lambda: time.monotonic() > ends)

    def _foresee(self, message: ToWorker) -> None:
        """What a message that waits for the end of the chunk will need."""
        if isinstance(message, LoadPart):
            read_ahead(file for model in self._having(message.part) for file in files_of(model.offer, message.part))

    def _load(self, message: LoadPart) -> None:
        began = time.monotonic()
        try:
            having = self._having(message.part)
            for model in having:
                model.load([message.part], having)
        except Exception as error:  # noqa: BLE001  the edge of the process: the rank is as before
            traceback.print_exc()
            self._line.send(PartLoadFailed(part=message.part, reason=f"{type(error).__name__}: {error}"))
            if exhausted(error):  # for the next try
                self._held.shed()
            free_memory()
            return
        seconds = time.monotonic() - began if message.pace_s is None else message.pace_s
        self._line.send(PartLoaded(part=message.part, seconds=seconds))

    def _having(self, part: PartId) -> list[Model]:
        return [model for model in self._models.values() if part in model.offer.spec.part_bytes]


def _groups(setup: Setup) -> Groups:
    folder = Path(setup.snapshots) / FOLDER

    def carried(name: str, mesh: Mesh) -> Carrier:
        if setup.kind == "paced":
            return MeshedGroup(mesh)
        from sfumato.runtime.collectives import carrier

        return carrier(setup.collectives, mesh, folder / name, setup.device, setup.patience_s)

    return Groups(folder, setup.rank, setup.patience_s, carried)


def _finish(setup: Setup) -> Callable[[], None]:
    """What waits for the device: else a GPU is given many steps before the first has run, and a halt comes late."""
    if setup.kind == "paced" or setup.device == "cpu":
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(setup.device)


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
