"""One pass of diffusers' UNet2DConditionModel over images of unlike sizes, as patches: see `patches.Grid`.

On the batch of all patches whatever works on single pixels or tokens runs as it is. For the length of a call three
kinds of modules are diverted, so the plain pass of the model stays what it was: 3x3 convolutions (also those of
stride 2) see around their patch, group norms use the statistics of its image, and attention joins the tokens of each
image, whose text is kept once and not for each patch. In what order tokens are joined does not matter: a UNet knows
places from its convolutions alone. It leans on the names of diffusers' `Attention`, and on nothing there being masked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, scaled_dot_product_attention

from sfumato.models.patches import Grid, grid_of


def predict(
    unet: Any,
    images: Sequence[Tensor],
    *,
    timestep: Tensor,
    encoder_hidden_states: Tensor,
    added_cond_kwargs: dict[str, Tensor],
    timestep_cond: Tensor | None,
) -> list[Tensor]:
    """The prediction [1, C, h, w] for each image [1, C, h, w] of the batch; the rest as the UNet takes it, [B, ...].

    ValueError unless the UNet can halve the patches as often as it does, and for one that cannot be cut.
    """
    grid = grid_of(tuple((image.shape[2], image.shape[3]) for image in images), images[0].device)
    deepest = 2 ** (len(unet.config.block_out_channels) - 1)
    if grid.height % deepest or grid.width % deepest:
        raise ValueError(f"patches of {grid.height}x{grid.width} are no multiple of {deepest}")
    with _diverted(unet, grid):
        patches = unet(
            grid.cut(images),
            timestep[grid.owner],
            encoder_hidden_states=encoder_hidden_states,
            added_cond_kwargs={name: value[grid.owner] for name, value in added_cond_kwargs.items()},
            timestep_cond=None if timestep_cond is None else timestep_cond[grid.owner],
            return_dict=False,
        )[0]
    return grid.join(patches)


@contextmanager
def _diverted(unet: Any, grid: Grid) -> Iterator[None]:
    """While it lasts, the modules that need more than a patch have it from `grid`."""
    attend = _Attend(grid)
    forwards: list[tuple[nn.Module, Any]] = []
    processors: list[tuple[Any, Any]] = []
    for module in unet.modules():
        if isinstance(module, nn.Conv2d) and not _is_local(module):
            forwards.append((module, partial(_convolve, grid, module)))
        elif isinstance(module, nn.GroupNorm):
            forwards.append((module, partial(_normalise, grid, module)))
        elif hasattr(module, "set_processor"):
            processors.append((module, module.processor))
    try:
        for module, forward in forwards:
            vars(module)["forward"] = forward
        for module, _ in processors:
            module.set_processor(attend)
        yield
    finally:
        for module, _ in forwards:
            vars(module).pop("forward", None)
        for module, processor in processors:
            module.set_processor(processor)


def _is_local(module: nn.Conv2d) -> bool:
    """Whether a pixel depends on one pixel alone. ValueError if it depends on other than the 3x3 around it."""
    if (module.kernel_size, module.padding, module.dilation) == ((3, 3), (1, 1), (1, 1)):
        return False
    if (module.kernel_size, module.stride) != ((1, 1), (1, 1)):
        raise ValueError(f"a UNet with {module} cannot be cut into patches")
    return True


def _convolve(grid: Grid, module: nn.Conv2d, patches: Tensor) -> Tensor:
    return conv2d(grid.framed(patches), module.weight, module.bias, module.stride, groups=module.groups)


def _normalise(grid: Grid, module: nn.GroupNorm, patches: Tensor) -> Tensor:
    """Each patch by its own mean and deviation first, which torch's kernel gives too, then by those of the image."""
    count, channels, height, width = patches.shape
    whole = patches.float(), None, None, count, channels, height * width, module.num_groups, module.eps
    normed, means, inverses = torch.native_group_norm(*whole)
    mean = grid.mean(means)
    variance = grid.mean(inverses**-2 - module.eps + (means - mean) ** 2)
    inverse = (variance + module.eps).rsqrt()
    scale = _spread(module, inverse / inverses) * module.weight
    shift = _spread(module, (means - mean) * inverse) * module.weight + module.bias
    return torch.addcmul(shift[:, :, None, None], normed, scale[:, :, None, None]).to(patches.dtype)


def _spread(module: nn.GroupNorm, groups: Tensor) -> Tensor:
    """Values of groups [P, G] for each of their channels [P, C]."""
    return groups.repeat_interleave(module.num_channels // module.num_groups, dim=1)


class _Attend:
    """An attention processor: the tokens of an image see each other, or its text."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: None = None,  # noqa: ARG002 `Attention` always gives it
    ) -> Tensor:
        """`hidden_states` [P, tokens, C] of patches, `encoder_hidden_states` [B, tokens, D] of images."""
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projected = attn.to_q(hidden_states), attn.to_k(source), attn.to_v(source)
        q, k, v = (x.unflatten(2, (attn.heads, -1)) for x in projected)
        seen = torch.empty_like(q)
        for run in self._grid.runs:
            keys = run.patches if encoder_hidden_states is None else run.images
            parts = (q[run.patches], k[keys], v[keys])
            joined = (x.reshape(run.size, -1, *x.shape[2:]).transpose(1, 2) for x in parts)
            seen[run.patches] = scaled_dot_product_attention(*joined).transpose(1, 2).reshape(parts[0].shape)
        return attn.to_out[1](attn.to_out[0](seen.flatten(2)))  # type: ignore[no-any-return]
