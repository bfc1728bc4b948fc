"""What a model asks of the ranks that compute one chunk together: a handful of collectives, handed in explicitly.

Rules: all members call the same collectives in the same order with tensors of equal shape and type, and wait for each
other there. Whatever a collective depends on must therefore be equal on all members: shapes, which states are stepped,
every decision taken on the way. There is no process-global group; the runtime makes these from its ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class GroupBroken(RuntimeError):  # noqa: N818 - it is a state of the group
    """A member is gone or does not answer: nothing more comes through this group."""


class Group(Protocol):
    """Some ranks, as one of them sees them. Collectives raise GroupBroken instead of waiting for a dead member."""

    @property
    def rank(self) -> int:
        """Which member this is: 0 to size - 1."""

    @property
    def size(self) -> int:
        """How many members there are."""

    def all_to_all(self, parts: Tensor) -> Tensor:
        """`parts` [size, ...], contiguous: part i goes to member i. Returns [size, ...], part i from member i."""

    def all_gather(self, part: Tensor) -> Tensor:
        """`part` [...], contiguous. Returns the parts of all members [size, ...], bit for bit the same everywhere."""

    def shift(self, part: Tensor, by: int) -> Tensor:
        """`part` [...], contiguous, goes `by` members on, counted round, to another. Returns that of as far before."""

    def broadcast(self, tensor: Tensor, source: int = 0) -> Tensor:
        """Overwrite `tensor`, contiguous, with that of member `source`; returned."""

    def split(self, parts: int) -> Group:
        """The own one of `parts` equal runs of members, as a group: of 4 members in 2 parts 0 and 1, or 2 and 3.

        A collective of its own, as all members call it; asked again with the same number it gives the same object.
        `parts` divides the size.
        """
