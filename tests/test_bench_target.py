"""The programs that measure a given checkpoint on a given device: their ways run, whatever they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isfinite
from pathlib import Path

import pytest
import torch

from bench import batching, patches, pauses
from bench.figure import Result
from bench.target import Target

from .models import checkpoints

WRITE: dict[str, Callable[[Path], Path]] = {
    "sdxl": checkpoints.sdxl,
    "sd3": checkpoints.sd3,
    "flux": checkpoints.flux,
    "wan": checkpoints.wan,
}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def target(tmp_path: Path, request: pytest.FixtureRequest) -> Target:
    return Target("cpu", str(WRITE[request.param](tmp_path / request.param)))


def names(result: Result) -> list[str]:
    assert all(isfinite(figure.value) for figure in result.figures), "what they are depends on the machine"
    return [figure.name for figure in result.figures]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("target", ["sdxl", "sd3", "flux", "wan"], indirect=True)
def test_batching_joins_requests_of_the_sizes_of_a_given_model(target: Target) -> None:
    mix = "64x64x9" if target.model_name == "wan" else "32x32, 48x48, 64x64: one batch against one by one"
    assert any(mix in name for name in names(batching.measure(True, target)))


@pytest.mark.parametrize("target", ["sdxl"], indirect=True)
def test_patches_takes_the_unet_of_a_given_model(target: Target) -> None:
    gain, difference = patches.measure(True, target).figures
    assert gain.name == "sdxl: latents of 16, 24, 32 in one pass"
    assert difference.held


@pytest.mark.parametrize("target", ["sd3"], indirect=True)
def test_patches_says_what_it_cannot_take(target: Target) -> None:
    with pytest.raises(SystemExit, match="of the family sd3; give an SDXL"):
        patches.measure(True, target)


@pytest.mark.parametrize("target", ["flux"], indirect=True)
def test_pauses_moves_and_changes_of_degree_are_measured_on_two_workers(target: Target) -> None:
    found = names(pauses.measure(True, target))
    assert "flux: a change of degree at a step boundary" in found
    assert any(name.startswith("flux: loading transformer") for name in found)


@pytest.mark.parametrize("target", ["sd3"], indirect=True)
def test_on_one_worker_pauses_snapshots_and_loads_are_measured(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "workers_on", lambda target: 1)
    found = names(pauses.measure(True, target))
    assert [name for name in found if "boundary" in name] == ["sd3: a pause at a step boundary"]
    assert "sd3: going on from it elsewhere" in found


def test_results_of_another_device_or_model_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    assert Target().kept_as("batching") == "batching"
    assert Target("cpu", "made/sdxl/").kept_as("batching") == "batching-sdxl-cpu"
    assert Target("cuda:0").kept_as("batching") == "batching-nvidia-h100-80gb-hbm3"
    assert Target("cuda:0", "made/Wan2.1").kept_as("pauses") == "pauses-wan2.1-nvidia-h100-80gb-hbm3"
