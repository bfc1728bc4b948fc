"""How light the package is: `import sfumato`, `sfumato --help`, and what the import may not pull in."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from bench.figure import Figure, Result, main

# of what is installed, whatever takes long to import
HEAVY = ("torch", "diffusers", "transformers", "starlette", "uvicorn", "pydantic", "openai", "matplotlib", "av")
TIMED = "import time; t = time.perf_counter(); import sfumato; print(time.perf_counter() - t)"
PULLED = f"import sys, sfumato; print(*[name for name in {HEAVY!r} if name in sys.modules])"


def measure(quick: bool) -> Result:
    repeats = 3 if quick else 15
    imports = [float(_python("-c", TIMED)) for _ in range(repeats)]
    helps = [_help_s() for _ in range(repeats)]
    pulled = _python("-c", PULLED).split()
    return Result(
        figures=(
            Figure(name="import sfumato", value=median(imports), unit="s", limit=0.3),
            Figure(name="import sfumato pulls torch or a web framework", value=len(pulled), unit="modules", limit=0),
            Figure(name="sfumato --help", value=median(helps), unit="s", limit=0.5),
        ),
        details={"pulled": pulled, "import_s": imports, "help_s": helps},
    )


def _python(*arguments: str) -> str:
    return subprocess.check_output([sys.executable, *arguments], text=True)


def _help_s() -> float:
    began = time.perf_counter()
    _python("-m", "sfumato", "--help")
    return time.perf_counter() - began


if __name__ == "__main__":
    main(measure)
