"""The seconds that paced workers take: whoever knows profiles says so, the cluster only passes them on."""

from __future__ import annotations

from typing import Protocol

from sfumato.core.commands import Launch, Load


class Pacing(Protocol):
    """The seconds that paced workers take."""

    def chunk_s(self, launch: Launch) -> tuple[float, float]:
        """(start_s, unit_s) of a chunk."""
        ...

    def load_s(self, load: Load) -> float:
        """Seconds of a load."""
        ...


class AsPredicted:
    """Paced workers take what the planner predicted.

    With an online correction in the planner pass a Pacing of the bare profile instead: the correction would follow its
    own echo.
    """

    def chunk_s(self, launch: Launch) -> tuple[float, float]:
        return launch.start_s, launch.unit_s

    def load_s(self, load: Load) -> float:  # noqa: ARG002
        return 0.0
