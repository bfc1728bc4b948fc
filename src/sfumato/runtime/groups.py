"""The groups that a rank is in: made when a chunk first needs them, kept warm, closed when told or broken.

There is no world: any ranks may form a group at any time, and a rank that dies takes with it only the groups that it
was in (docs/decisions/0013). The controller names a group, with a name that never comes back; ranks take their chunks
in the order in which it sent them, so all members of a group come to it. Torch-free: what carries tensors is made by
the function that a worker brings along.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from sfumato.core.values import Group, Rank
from sfumato.models import group as model
from sfumato.runtime.meshes import Door, Mesh

FOLDER = "groups"  # in that of the snapshots


class Carrier(model.Group, Protocol):
    """What carries the tensors of a group."""

    def close(self) -> None:
        """Whoever waits for this rank's tensors is told."""


class Team:
    """A group as one of its ranks has it: the mesh for the runtime's words, the carrier for the model's tensors."""

    def __init__(self, name: str, mesh: Mesh, carrier: Carrier) -> None:
        self.name = name
        self.mesh = mesh
        self.carrier = carrier

    def close(self) -> None:
        self.carrier.close()
        self.mesh.close()


class Groups:
    """The teams of this rank."""

    def __init__(self, folder: Path, rank: Rank, patience_s: float, carrier: Callable[[str, Mesh], Carrier]) -> None:
        """`carrier` makes what carries a group's tensors, given its name; all members call it at once."""
        self._door = Door(folder, rank, patience_s)
        self._carrier = carrier
        self._teams: dict[Group, Team] = {}

    def of(self, name: str, ranks: Group, given_up: Callable[[], bool]) -> Team:
        """The team of these ranks under that name. Raises GroupBroken if not all of them come."""
        team = self._teams.get(ranks)
        if team is not None and team.name == name:
            return team
        self.leave(ranks)
        mesh = self._door.meet(name, ranks, given_up)
        try:
            carrier = self._carrier(name, mesh)
        except BaseException:
            mesh.close()
            raise
        team = self._teams[ranks] = Team(name, mesh, carrier)
        return team

    def leave(self, ranks: Group) -> None:
        """Close the team of these ranks, if there is one."""
        team = self._teams.pop(ranks, None)
        if team is not None:
            team.close()

    def close(self) -> None:
        """Leave all, and answer nobody any more."""
        for ranks in tuple(self._teams):
            self.leave(ranks)
        self._door.close()
