"""Policies side by side, live: the same load on eight paced ranks, and on two real workers with the embedded models.

Nothing is simulated: processes, groups, moves, snapshots and the controller are those that serve. Paced ranks hold each
unit to the time of a published table (a third of it), so what a policy gains there is what it would gain on such GPUs
if steps took what the table says; real workers compute. Paced: `sfumato` (degrees, batches, stages) against `fixed` at
every degree, `static`, `srtf` and the readings of four papers. Real: against `fixed` and `srtf`. Full runs draw
docs/images/live.png; bench/results/live.png is that of the last run of either kind.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.figure import RESULTS, Figure, Result, main
from bench.lived import Run, attained, lived, pace_of
from bench.rig import play
from bench.scenes import COMPRESSED, Scene, both_scene, measured_scene
from sfumato.core.values import Value
from sfumato.report.colours import SERIES
from sfumato.report.journal import tell
from sfumato.report.metrics import Metrics
from sfumato.report.metrics import measure as metrics_of
from sfumato.report.plots import label, new_figure, save
from sfumato.report.tables import Table, number

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "live.png"
OURS = Run(policy="sfumato")
PAPERS = ("tetriserve", "genserve", "tridentserve", "patchedserve")
PACED = (
    *(Run(policy="fixed", options={"degree": degree}) for degree in (1, 2, 4, 8)),
    *(Run(policy=name) for name in ("static", "srtf", *PAPERS)),
    OURS,
)
REAL = (Run(policy="fixed"), Run(policy="fixed", options={"degree": 2}), Run(policy="srtf"), OURS)
LOADS = {"paced": 0.9, "real": 0.8}  # of the ranks' time, one by one on one rank each
SEEDS = 3


class Row(Value, frozen=True, kw_only=True):
    """What came of a policy, and how much slower than the profile its units ran."""

    run: Run
    found: Metrics
    pace: float


class Match(Value, frozen=True, kw_only=True):
    """All policies on one scene."""

    scene: str
    kind: str
    load: float
    requests: int
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        how = "paced: a published table's times, no arithmetic" if self.kind == "paced" else "real: embedded models"
        return f"{self.scene} ({how}), {self.requests} requests, load {self.load:.1f}"


def measure(quick: bool) -> Result:
    seeds, each = (1, 12) if quick else (SEEDS, 100)
    with tempfile.TemporaryDirectory(prefix="sfumato-bench-") as folder:
        paced = _match(both_scene(), "paced", PACED, seeds, each)
        print(table(paced).plain(), flush=True)
        real = _match(play(lambda: measured_scene(Path(folder))), "real", REAL, seeds, each)
        print(table(real).plain(), flush=True)
    matches = (paced, real)
    _draw(matches, RESULTS / ("quick" if quick else "") / "live.png")
    if not quick:
        _draw(matches, PICTURE)
    details: dict[str, Any] = {match.kind: _detail(match) for match in matches}
    details["time_of_paced_ranks_divided_by"] = COMPRESSED
    return Result(figures=tuple(figure for match in matches for figure in _figures(match)), details=details)


def _match(scene: Scene, kind: str, runs: Sequence[Run], seeds: int, each: int) -> Match:
    arrivals = scene.arrivals(seeds, each, LOADS[kind])
    rows = []
    for run in runs:
        story = tell(play(lambda run=run: lived(scene, run, arrivals)))  # type: ignore[misc]
        rows.append(Row(run=run, found=metrics_of(story), pace=pace_of(scene, story).units))
        print(f"{scene.name}, {run}: {attained(rows[-1].found):.1f}% in time", file=sys.stderr, flush=True)
    return Match(scene=scene.name, kind=kind, load=LOADS[kind], requests=len(arrivals), rows=tuple(rows))


def _figures(match: Match) -> list[Figure]:
    """Of each policy, with the best of the others as the target of ours."""
    shares = {str(row.run): attained(row.found) for row in match.rows}
    best = max(share for name, share in shares.items() if name != str(OURS))
    return [
        Figure(
            name=f"{match.scene}, {name}: in time",
            value=share,
            unit="%",
            sense=">=",
            limit=best if name == str(OURS) else None,
        )
        for name, share in shares.items()
    ]


def table(match: Match) -> Table:
    """A row a policy."""
    rows = []
    for row in match.rows:
        all_, latency = row.found.overall, row.found.overall.latency
        low, high = (100 * (edge or 0.0) for edge in (all_.attainment_low, all_.attainment_high))
        rows.append(
            (
                str(row.run),
                f"{attained(row.found):.1f}%",
                f"{low:.0f}-{high:.0f}",
                *((number(latency.mean), number(latency.p50), number(latency.p95)) if latency else ("-",) * 3),
                f"{100 * row.found.utilisation:.0f}%",
                str(all_.pauses),
                str(all_.moves),
                str(all_.degree_changes),
                f"{row.found.mean_batch:.2f}",
                f"{row.pace:.2f}",
            )
        )
    columns = ("policy", "in time", "95%", "mean s", "p50 s", "p95 s", "busy", "pauses", "moves", "degrees")
    return Table(title=match.title, columns=(*columns, "batch", "pace"), rows=tuple(rows))


def _detail(match: Match) -> dict[str, Any]:
    rows = {str(row.run): {**row.found.overall.row(), "pace": row.pace} for row in match.rows}
    return {"title": match.title, "runs": rows, "markdown": table(match).markdown()}


def _draw(matches: Sequence[Match], path: Path) -> None:
    """Attainment of every policy with its 95% interval, ours last and in another colour."""
    names = [(match, row) for match in matches for row in match.rows]
    figure, axes = new_figure(8.0, 0.8 + 0.3 * len(names))
    for place, (_, row) in enumerate(names):
        all_, share = row.found.overall, attained(row.found)
        low, high = (100 * (edge or 0.0) for edge in (all_.attainment_low, all_.attainment_high))
        spread = [[max(0.0, share - low)], [max(0.0, high - share)]]
        colour = SERIES[0] if row.run == OURS else SERIES[6]
        axes.barh(place, share, xerr=spread, color=colour, height=0.7, ecolor="#333333", capsize=2)
    axes.set_yticks(range(len(names)), [f"{row.run}, {match.kind}" for match, row in names])
    axes.invert_yaxis()
    axes.set_xlim(0, 105)
    axes.grid(visible=False, axis="y")
    label(axes, "In time, live: " + "; ".join(match.scene for match in matches), "requests in time, %", "")
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path)


if __name__ == "__main__":
    main(measure)
