"""What a worker does before anything is computed."""

from __future__ import annotations

import pytest
import torch

from sfumato.runtime import startup
from sfumato.runtime.wire import Setup


@pytest.mark.parametrize(("device", "chosen"), [("cuda:3", ["cuda:3"]), ("cpu", [])])
def test_a_worker_works_on_its_own_gpu_alone(device: str, chosen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinned memory, too, is of the current device: else every worker would take some of the first one's."""
    found: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", found.append)
    for name in ("OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "1")
    startup._settle(
        Setup(
            rank=3,
            ranks=4,
            kind="real",
            device=device,
            dtype=None,
            threads=torch.get_num_threads(),
            nice=0,
            memory_bytes=0,
            snapshots="",
            snapshot_every_s=0.5,
            patience_s=1.0,
            collectives="auto",
            offers=(),
            parts=None,
        )
    )
    assert found == chosen
