"""Trees of tensors and plain values as bytes: a msgpack header, then the raw tensors, copied once.

Why not torch.save: it took 0.12 ms for the latent and scheduler of a tiny image (a zip archive and a pickle), this
takes 0.01 ms. It also runs no code on reading.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import torch

DTYPES = (
    torch.float32,
    torch.bfloat16,
    torch.float16,
    torch.float64,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)
CODES = {dtype: code for code, dtype in enumerate(DTYPES)}
HEADER = 8  # bytes of the header's length


def pack(tree: Any) -> bytes:
    """`tree` of dicts, lists, plain values and tensors (on any device) as bytes."""
    chunks: list[memoryview] = []
    offset = 0

    def enc_hook(value: Any) -> msgspec.msgpack.Ext:
        nonlocal offset
        if not isinstance(value, torch.Tensor):
            raise NotImplementedError(f"a {type(value).__name__} cannot be packed")
        raw = _on_host(value.detach()).contiguous().reshape(-1).view(torch.uint8).numpy().data
        entry = msgspec.msgpack.encode((offset, *value.shape))
        chunks.append(raw)
        offset += len(raw)
        return msgspec.msgpack.Ext(CODES[value.dtype], entry)

    header = msgspec.msgpack.encode(tree, enc_hook=enc_hook)
    return b"".join((len(header).to_bytes(HEADER, "little"), header, *chunks))


def unpack(data: bytes, device: torch.device) -> Any:
    """The tree that `pack` wrote, its tensors on `device`, sharing no memory with `data`."""
    start = HEADER + int.from_bytes(data[:HEADER], "little")

    def ext_hook(code: int, entry: memoryview) -> torch.Tensor:
        offset, *shape = msgspec.msgpack.decode(entry)
        tensor = torch.empty(shape, dtype=DTYPES[code], pin_memory=device.type == "cuda")
        if tensor.nbytes:
            raw = np.frombuffer(data, dtype=np.uint8, count=tensor.nbytes, offset=start + offset)
            tensor.reshape(-1).view(torch.uint8).numpy()[:] = raw
        return tensor.to(device, non_blocking=True)  # a pinned block is not used again before its copy is done

    return msgspec.msgpack.decode(memoryview(data)[HEADER:start], ext_hook=ext_hook)


def _on_host(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or its copy in host memory; from a GPU into pinned memory, at the link's full speed."""
    if tensor.device.type != "cuda":
        return tensor.cpu()
    staged = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return staged.copy_(tensor)
