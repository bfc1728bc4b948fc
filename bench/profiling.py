"""How long a full profile of an embedded model takes, all cores at work: sizes x degrees x batches x stages."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figure import Figure, Result, main
from sfumato.cost.profile import read_profile

MODELS = ("sfumato/tiny-image", "sfumato/tiny-video")


def measure(quick: bool) -> Result:
    figures, details = [], {}
    with TemporaryDirectory() as folder:
        for model in MODELS:
            began = time.monotonic()
            name = model.split("/")[1]
            density = "--quick" if quick else "--full"
            options = ["--model", f"{name}={model}", "--out", folder, density]
            subprocess.run([sys.executable, "-m", "sfumato", "profile", *options], check=True, stdout=sys.stderr)
            minutes = (time.monotonic() - began) / 60
            profile = read_profile(Path(folder) / f"{name}.json")
            details[model] = {"points": len(profile.points), "minutes": minutes}
            figures.append(Figure(name=f"profile of {model}, {density[2:]}", value=minutes, unit="min", limit=10.0))
    return Result(figures=tuple(figures), details=details)


if __name__ == "__main__":
    main(measure)
