"""Trees of tensors as bytes."""

from __future__ import annotations

import pytest
import torch

from sfumato.models import blob

CPU = torch.device("cpu")
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
@pytest.mark.parametrize("dtype", blob.DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)])
def test_a_tensor_comes_back_bit_for_bit(dtype: torch.dtype, shape: tuple[int, ...], device: str) -> None:
    tensor = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 9).to(device, dtype)
    again = blob.unpack(blob.pack(tensor), torch.device(device))
    assert (again.dtype, again.device) == (dtype, tensor.device)
    assert torch.equal(again, tensor)


def test_a_tree_comes_back_with_its_plain_values_and_views() -> None:
    grid = torch.arange(12).reshape(3, 4)
    tree = {"n": 3, "none": None, "text": "ä", "history": [None, grid.T, [grid[1:, ::2]]], "x": 0.1}
    again = blob.unpack(blob.pack(tree), CPU)
    assert {name: again[name] for name in ("n", "none", "text", "x")} == {"n": 3, "none": None, "text": "ä", "x": 0.1}
    assert again["history"][0] is None
    assert torch.equal(again["history"][1], grid.T)
    assert torch.equal(again["history"][2][0], grid[1:, ::2])


def test_an_unpacked_tensor_may_be_written_to_without_changing_the_blob() -> None:
    data = blob.pack(torch.zeros(4))
    blob.unpack(data, CPU).fill_(1.0)
    assert torch.equal(blob.unpack(data, CPU), torch.zeros(4))


def test_what_is_neither_plain_nor_a_tensor_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="Generator cannot be packed"):
        blob.pack({"generator": torch.Generator()})
