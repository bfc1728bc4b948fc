"""Weights that are to be loaded: the system reads their files while the chunk before the load still runs.

Why not the whole load beside the chunk: while diffusers and transformers build a module they change torch's default
dtype for the process, and a step beside it would make some of its constants in that. What is left for the time between
two chunks is to build the module from files that are in memory, and to copy it to the device.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from threading import Thread

from sfumato.core.values import PartId
from sfumato.models.offer import Offer

SUFFIXES = (".safetensors", ".bin")


def files_of(offer: Offer, part: PartId) -> tuple[Path, ...]:
    """The files that hold the weights of a part."""
    folders = [Path(offer.path) / name for name, own in offer.components.items() if own == part]
    return tuple(sorted(file for folder in folders for file in folder.glob("*") if file.suffix in SUFFIXES))


def read_ahead(files: Iterable[Path]) -> Thread:
    """Have the system read them, in a thread, as even asking may take as long as the disk does."""
    thread = Thread(target=_ask_for, args=(tuple(files),), daemon=True)
    thread.start()
    return thread


def _ask_for(files: Iterable[Path]) -> None:
    if not hasattr(os, "posix_fadvise"):  # macOS
        return
    for file in files:
        try:
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
        except OSError:
            return  # the load itself will say what is wrong with it
