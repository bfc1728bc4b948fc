"""Caches of diffusers on its own pipeline of an embedded model, as ways of `bench.reuse`.

Their state hangs on the transformer: they are enabled anew for each picture. Which blocks they computed is counted by
the calls of each block's first norm. TaylorSeer's patterns for attention match nothing on Wan, so it is given patterns
of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

Draw = Callable[[str, int], tuple[np.ndarray, float]]


def stock(family: str, side: int, config: Callable[[], Any] | None = None) -> Draw:
    """Draws with the stock pipeline and a cache's config, or none."""
    painter = _painter(family)
    frames = 9 if family == "video" else 1
    transformer = painter.pipe.transformer

    def draw(prompt: str, seed: int) -> tuple[np.ndarray, float]:
        from recipes.tiny.exam import Extent

        if config is not None:
            transformer.enable_cache(config())
        try:
            with _counted(transformer) as calls:
                clip = painter.paint([prompt], Extent(width=side, height=side, frames=frames), seed=seed)[0]
        finally:
            if config is not None:
                transformer.disable_cache()
        most = painter.steps * (2 if painter.guidance > 1 else 1)
        return clip, 1 - sum(calls) / (len(calls) * most)

    return draw


_PAINTERS: dict[str, Any] = {}


def _painter(family: str) -> Any:
    from recipes.tiny.sampling import Painter

    if family not in _PAINTERS:
        _PAINTERS[family] = Painter.load(family)
    return _PAINTERS[family]


@contextmanager
def _counted(transformer: Any) -> Iterator[list[int]]:
    """How often each block after the first ran: hooks on the part of it that every run passes."""
    blocks = [
        block
        for name in ("blocks", "transformer_blocks", "single_transformer_blocks")
        for block in getattr(transformer, name, ())
    ][1:]
    calls = [0] * len(blocks)

    def counter(index: int) -> Callable[..., None]:
        def count(*_: Any) -> None:
            calls[index] += 1

        return count

    first = [getattr(block, "norm1", None) or block.norm for block in blocks]
    handles = [norm.register_forward_hook(counter(i)) for i, norm in enumerate(first)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def first_block(threshold: float) -> Callable[[], Any]:
    from diffusers import FirstBlockCacheConfig

    return lambda: FirstBlockCacheConfig(threshold=threshold)


def taylor_seer(interval: int) -> Callable[[], Any]:
    """Whole blocks are left out and the model's last layer is forecast ("lite"), with its factors in float32."""
    import torch
    from diffusers import TaylorSeerCacheConfig

    return lambda: TaylorSeerCacheConfig(
        cache_interval=interval, taylor_factors_dtype=torch.float32, use_lite_mode=True
    )
