"""Workloads and profiles that come with Sfumato, by name: `sfumato simulate tetriserve-uniform`.

They lie in the repository, and in an installed package under `shipped/` in the same places, so that a workload finds
its profiles by the same relative paths. What is a path to something goes before a name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_PACKAGE = Path(__file__).parents[1]
_FOLDERS = ("shipped", "../..")  # of the package: installed, in the repository


class Shipped(click.ParamType[Path]):
    """A path to a file (or folder), or the name of a file of that ending in one of the shipped `folders`."""

    def __init__(self, name: str, folders: tuple[str, ...], ending: str, *, folder_too: bool = False) -> None:
        self.name = name
        self._folders, self._ending, self._folder_too = folders, ending, folder_too

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        if path.is_file() or (self._folder_too and path.is_dir()):
            return path
        known = self.known()
        if str(value) not in known:
            self.fail(f"{str(value)!r} is neither a path nor one of: {', '.join(known) or 'none'}", param, ctx)
        return known[str(value)]

    def known(self) -> dict[str, Path]:
        """Name -> file; of two with one name the first folder's."""
        found = [path for folder in self._folders for path in sorted(_root(folder).glob(f"*{self._ending}"))]
        return {path.stem: path for path in reversed(found)}


def _root(folder: str) -> Path:
    """Where a shipped folder lies."""
    places = [(_PACKAGE / place / folder).resolve() for place in _FOLDERS]
    return next((place for place in places if place.is_dir()), places[0])


WORKLOAD = Shipped("workload", ("recipes/workloads",), ".toml")
PROFILE = Shipped("profile", ("profiles/modelled", "profiles/published"), ".json", folder_too=True)
