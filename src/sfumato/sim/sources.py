"""Which source a result rests on: a module and all that it imports of the planner's folders and of its own package, as
one hash.

So a kept result outlives changes that cannot have touched it: of another policy, of the server, of a page.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from contextlib import suppress
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
    own = {name.partition(".")[0] for name in modules} - {PACKAGE}
    found: dict[str, bytes] = {}
    todo = list(modules)
    while todo:
        name = todo.pop()
        path = _path(name)
        if name in found or path is None:
            continue
        found[name] = path.read_bytes()
        within = f"{name}.{path.stem}" if path.stem == "__init__" else name
        todo += [each for each in _imports(found[name], within) if _followed(each, own)]
    digest = sha256()
    for name in sorted(found):
        digest.update(name.encode() + b"\0" + found[name] + b"\0")
    return digest.hexdigest()


def _followed(module: str, own: Collection[str]) -> bool:
    package, _, rest = module.partition(".")
    return package in own or (package == PACKAGE and rest.partition(".")[0] in FOLLOWED)


def _imports(source: bytes, name: str) -> Iterator[str]:
    """What the import statements of the module `name` name: modules, and maybe something in them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            above = name.split(".")[: -node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _path(name: str) -> Path | None:
    """The file of a module; None if there is no such module."""
    first, *rest = name.split(".")
    if first != PACKAGE:
        with suppress(ModuleNotFoundError):  # the name of something in a module
            spec = find_spec(name)
            return Path(spec.origin) if spec and spec.origin else None
        return None
    base = ROOT.joinpath(*rest)
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)
