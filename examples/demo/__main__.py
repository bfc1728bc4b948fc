"""`make demo`: the same mixed load on a live server, first with the policy `fixed`, then with `sfumato`.

Measures this machine, starts real servers on the two embedded models, sends pictures and clips with deadlines through
the official client, and leaves in ./demo what was made, who ran where, and what the simulator had predicted.
Exit status: 0, 1 if a request was left without an outcome, 130 after Ctrl-C (what is there by then is kept).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from examples.demo.gallery import draw_all
from examples.demo.load import WINDOW_S, make_load, standalone
from examples.demo.predict import pace_of, predict
from examples.demo.results import Compared, results, table
from examples.demo.runs import run_load, told
from examples.demo.server import run_verb
from sfumato.assemble import Setup
from sfumato.config import EMBEDDED, usable_cores
from sfumato.cost import Profile, read_profiles
from sfumato.errors import SfumatoError
from sfumato.models import describe
from sfumato.report.metrics import Metrics
from sfumato.workload.arrivals import Arrival
from sfumato.workload.played import Played
from sfumato.workload.trace import write_trace

POLICIES = ("fixed", "sfumato")
MOST_WORKERS = 4  # more would need more requests than a minute shows


class Demo:
    """What the demo has come to; `finish` makes the most of it, however far that is."""

    def __init__(self, folder: Path, *, workers: int, window_s: float, paced: bool, console: Console) -> None:
        self.folder = folder
        self.workers = workers
        self.window_s = window_s
        self.paced = paced
        self.console = console
        self.models = {name: describe(source, name).spec for name, source in EMBEDDED.items()}
        self.profiles: tuple[Profile, ...] = ()
        self.played: dict[str, list[Played]] = {}
        self.predicted: dict[str, list[Metrics]] = {}

    async def run(self, profiles_from: Path | None) -> None:
        """Measure, predict, and play the load once a policy."""
        folder = profiles_from or await self._calibrate()
        self.profiles = read_profiles(folder)
        arrivals = make_load(standalone(self.profiles, self.models), ranks=self.workers, window_s=self.window_s)
        write_trace(self.folder / "load.jsonl", arrivals)
        self._introduce(arrivals)
        for policy in POLICIES:
            self.predicted[policy] = predict(self._setup(policy), arrivals, ranks=self.workers)
        for policy in POLICIES:
            await run_load(
                policy,
                arrivals,
                workers=self.workers,
                profiles=folder,
                folder=self.folder / policy,
                console=self.console,
                keep=self.played,
                paced=self.paced,
            )

    def finish(self) -> int:
        """Pictures, page and table of the runs that there are; returns how many requests have no outcome."""
        compared = []
        for policy, played in self.played.items():
            run = told(policy, played, self.folder / policy)
            if run.story.lives:
                pace = pace_of(run.story, self._setup(policy))
                compared.append(Compared(run=run, predicted=tuple(self.predicted[policy]), pace=pace))
        if not compared:
            return 0
        kind = "live server, paced workers" if self.paced else "live server"
        draw_all(compared, self.folder, kind)
        (self.folder / "results.json").write_text(json.dumps(results(compared), indent=1))
        found = table(compared, kind)
        (self.folder / "results.md").write_text(found.markdown())
        self.console.print(found.rich())
        reasons = Counter(f"{one.state}: {one.error}" for each in compared for one in each.run.played if one.error)
        for reason, count in reasons.items():
            self.console.print(f"{count} requests {reason}", style="red", soft_wrap=True)
        return sum(one.run.unanswered for one in compared)

    async def _calibrate(self) -> Path:
        folder = self.folder / "profiles"
        words = ("profile", "--quick", "--workers", str(self.workers), "--out", str(folder))
        await run_verb(*words, quiet=not self.console.is_terminal)
        return folder

    def _introduce(self, arrivals: Sequence[Arrival]) -> None:
        videos = sum(arrival.shape.frames > 1 for arrival in arrivals)
        self.console.print(
            f"{len(arrivals) - videos} images and {videos} videos in {arrivals[-1].at:.0f} s on {self.workers} ranks, "
            f"the same for {' and '.join(POLICIES)}",
            soft_wrap=True,
        )

    def _setup(self, policy: str) -> Setup:
        return Setup(models=self.models, profiles=self.profiles, policy=policy)


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything; what it held is removed")
    parser.add_argument("--workers", type=int, default=min(usable_cores(), MOST_WORKERS), help="one a core, at most 4")
    parser.add_argument("--window", type=float, default=WINDOW_S, help="seconds over which the load is spread")
    parser.add_argument("--profiles", type=Path, help="measured profiles, instead of measuring now")
    parser.add_argument("--paced", action="store_true", help="workers that keep the profile's times and draw nothing")
    given = parser.parse_args()
    if given.paced and not given.profiles:
        parser.error("--paced needs the times to keep: name measured ones with --profiles")
    console = Console()
    began = time.monotonic()
    demo = Demo(_cleared(given.out), workers=given.workers, window_s=given.window, paced=given.paced, console=console)
    status = 0
    try:
        asyncio.run(demo.run(given.profiles))
    except KeyboardInterrupt:
        console.print("stopped; keeping what there is")
        status = 130
    except (RuntimeError, TimeoutError, SfumatoError) as error:
        console.print(f"the demo broke off: {error or 'the server did not answer in time'}", style="bold red")
        status = 1
    left = demo.finish()
    page = given.out / "index.html"
    where = f"everything is in {page}" if page.exists() else "there is nothing to show yet"
    console.print(f"{time.monotonic() - began:.0f} s; {where}", soft_wrap=True)
    if left and not status:
        console.print(f"{left} requests were left without an outcome", style="bold red")
        status = 1
    return status


def _cleared(folder: Path) -> Path:
    """A folder without what an earlier demo left in it."""
    (folder / "index.html").unlink(missing_ok=True)
    for name in ("profiles", *POLICIES):
        shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
