"""All figures, one after the other, each in a process of its own: `python -m bench [--quick] [NAME ...]`."""

from __future__ import annotations

import argparse
import subprocess
import sys

PROGRAMS = (
    "startup",
    "planner",
    "bound",
    "distance",
    "overhead",
    "pauses",
    "gaps",
    "groups",
    "ring",
    "batching",
    "patches",
    "profiling",
    "responsiveness",
    "reuse",
    "calibration",
    "live",
    "soak",
    "robust",
    "suite",
)


def main() -> None:
    """Exit status 1 if a program broke; a figure that falls short is said in its line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(PROGRAMS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer repeats: a look, not a proof")
    given = parser.parse_args()
    if unknown := set(given.names) - set(PROGRAMS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; use {', '.join(PROGRAMS)}")
    broken = [name for name in given.names or PROGRAMS if not _run(name, quick=given.quick)]
    if broken:
        sys.exit(f"bench: broke: {', '.join(broken)}")


def _run(name: str, *, quick: bool) -> bool:
    command = [sys.executable, "-m", f"bench.{name}", *(["--quick"] if quick else [])]
    return subprocess.run(command, check=False).returncode == 0


if __name__ == "__main__":
    main()
