"""Which source a result rests on: a module and all that it imports of the planner's folders, as one hash.

So a kept result outlives changes that cannot have touched it: of another policy, of the server, of a page.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "sfumato"
ROOT = Path(__file__).parents[1]
FOLLOWED = ("core", "policies", "cost", "sim", "workload", "report")


@cache
def fingerprint(*modules: str) -> str:
    """A hash of the text of `modules` and of what they import, directly or not."""
    found: dict[str, bytes] = {}
    todo = list(modules)
    while todo:
        name = todo.pop()
        path = _path(name)
        if name in found or path is None:
            continue
        found[name] = path.read_bytes()
        todo += [each for each in _imports(found[name]) if each.split(".")[1:2] and each.split(".")[1] in FOLLOWED]
    digest = sha256()
    for name in sorted(found):
        digest.update(name.encode() + b"\0" + found[name] + b"\0")
    return digest.hexdigest()


def _imports(source: bytes) -> Iterator[str]:
    """Names of our own modules in a module's import statements; some of them may be of what modules hold."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)


def _path(name: str) -> Path | None:
    """The file of a module; None if there is no such module."""
    first, *rest = name.split(".")
    if first != PACKAGE:
        spec = find_spec(name)
        return Path(spec.origin) if spec and spec.origin else None
    base = ROOT.joinpath(*rest)
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)
