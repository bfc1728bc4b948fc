"""Images of unlike sizes as one batch of equal patches, and what an operation on a patch needs from beyond it.

A patch is as large as the greatest common divisors of the heights and widths allow; what halves the images later
halves all patches alike, so one grid serves every level. Two things reach beyond a patch: the pixels around it, which
lie in its neighbours (zeros at the border of the image), and statistics, which are those of its whole image. Images do
not see each other. The order in which sums are taken differs from that of a whole image, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import gcd
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

Sizes = tuple[tuple[int, int], ...]


class Run(NamedTuple):
    """`size` neighbouring `images` of the batch with equally many `patches`, in one run."""

    images: slice
    patches: slice
    size: int


class Grid:
    """Images cut into P patches of `height` x `width`, numbered image after image and row after row.

    `owner` [P] is the image of each patch; `above`, `below`, `left` and `right` [P] are its neighbours, and P stands
    for none.
    """

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        """`sizes` are height and width of each image."""
        self.height, self.width = gcd(*(height for height, _ in sizes)), gcd(*(width for _, width in sizes))
        self.shapes = [(height // self.height, width // self.width) for height, width in sizes]
        counts = [rows * columns for rows, columns in self.shapes]
        owner = torch.arange(len(sizes)).repeat_interleave(torch.tensor(counts))
        self.owner = owner.to(device)
        around = [torch.cat(side).to(device) for side in zip(*_neighbours(self.shapes), strict=True)]
        self.above, self.below, self.left, self.right = around
        self.runs = list(_runs(counts))
        numbers = list(torch.split(torch.arange(sum(counts)), counts))
        self._numbers = pad_sequence(numbers, batch_first=True, padding_value=sum(counts)).to(device)
        self._counts = torch.tensor(counts, device=device)[:, None]

    def cut(self, images: Sequence[Tensor]) -> Tensor:
        """Images [1, C, h, w] as patches [P, C, height, width]."""
        return torch.cat([self._cut(image[0]) for image in images])

    def _cut(self, image: Tensor) -> Tensor:
        channels, height, width = image.shape
        apart = image.reshape(channels, height // self.height, self.height, width // self.width, self.width)
        return apart.permute(1, 3, 0, 2, 4).flatten(0, 1)

    def join(self, patches: Tensor) -> list[Tensor]:
        """The images [1, C, h, w] of patches [P, C, height, width]."""
        parts = torch.split(patches, [rows * columns for rows, columns in self.shapes])
        apart = [part.view(*shape, *part.shape[1:]) for part, shape in zip(parts, self.shapes, strict=True)]
        return [x.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)[None] for x in apart]

    def framed(self, patches: Tensor) -> Tensor:
        """Patches [P, C, h, w] of any level with the pixels around them: [P, C, h + 2, w + 2]."""
        count, channels, height, width = patches.shape
        framed = patches.new_empty(count + 1, channels, height + 2, width + 2)
        framed[count] = 0
        framed[:count, :, 1:-1, 1:-1] = patches
        framed[:count, :, 0, 1:-1] = framed[:, :, -2, 1:-1][self.above]
        framed[:count, :, -1, 1:-1] = framed[:, :, 1, 1:-1][self.below]
        # columns that reach one pixel above and below by now, so that they bring the corners along
        framed[:count, :, :, 0] = framed[:, :, :, -2][self.left]
        framed[:count, :, :, -1] = framed[:, :, :, 1][self.right]
        return framed[:count]

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` [P, G] over the image of each patch: [P, G]."""
        return (pad(values, (0, 0, 0, 1))[self._numbers].sum(1) / self._counts)[self.owner]


@lru_cache(maxsize=32)
def grid_of(sizes: Sizes, device: torch.device) -> Grid:
    """A grid, made once: the same batch takes many steps, each of the same sizes."""
    return Grid(sizes, device)


def _neighbours(shapes: Sequence[tuple[int, int]]) -> Iterator[list[Tensor]]:
    """Of each image: the numbers of the patches above, below, left and right of each of its patches."""
    first, none = 0, sum(rows * columns for rows, columns in shapes)
    for rows, columns in shapes:
        numbers = torch.arange(first, first + rows * columns).view(rows, columns)
        framed = pad(numbers, (1, 1, 1, 1), value=none)
        sides = framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:]
        yield [side.flatten() for side in sides]
        first += rows * columns


def _runs(counts: Sequence[int]) -> Iterator[Run]:
    """Neighbours of one count together."""
    image = patch = 0
    while image < len(counts):
        end = next((i for i in range(image, len(counts)) if counts[i] != counts[image]), len(counts))
        after = patch + (end - image) * counts[image]
        yield Run(slice(image, end), slice(patch, after), end - image)
        image, patch = end, after
