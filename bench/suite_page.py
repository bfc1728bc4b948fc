"""docs/suite.md and its picture, from what `bench.suite` has written to bench/results/."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.figure import RESULTS
from bench.suite_rates import CLOSE, SEEDS
from sfumato.report.colours import FAINT, INK, SERIES
from sfumato.report.plots import label, new_figure, save
from sfumato.report.tables import NONE, number

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "suite.md"
PICTURE = ROOT / "docs" / "images" / "suite.png"
PAPERS = ("tetriserve", "genserve", "tridentserve", "patchedserve")
OURS = "sfumato"
AHEAD = 0.005  # of attainment: the target of the suite
TIE = 0.0005  # attainments are rounded to four places

Document = dict[str, Any]


def write_page() -> None:
    """Both, from the results that are there."""
    suite = _read("suite")
    if suite is None:
        raise SystemExit("bench.suite: there are no results yet; run it without --page")
    others = {name: found for name in ("0.7", "1.3") if (found := _read(f"suite-modelled-{name}"))}
    PAGE.write_text("\n".join(page(suite, others, _read("distance"))) + "\n")
    draw(suite)


def page(suite: Document, others: Mapping[str, Document], distance: Document | None) -> Iterator[str]:
    """The lines of docs/suite.md."""
    details = suite["details"]
    points = list(details["points"].values())
    requests = [row["policies"][OURS]["requests"] for row in points]
    yield "# Every policy on every workload"
    yield ""
    files = {row["file"] for row in points}
    yield (
        f"Written by `python -m bench.suite` (commit {suite['commit']}, {suite['date'][:10]}): "
        f"{len(points)} points of {len(files)} workloads, "
        f"{min(requests)} requests a point or more, seeds from {details['first_seed']}, all policies paired."
    )
    yield (
        "**Simulated, with the planner that serves. The times of the profiles are modelled or published, none measured "
        "by us** (`profiles/README.md`): compare policies by them, not machines."
    )
    yield ""
    yield "![attainment by point: the bound, sfumato, the best other policy](images/suite.png)"
    yield from _claims(suite, others)
    if distance is not None:
        yield from _distance(distance)
    yield from _points(points)
    yield from _policies(points, details)
    yield from _rates(details["rates"])
    yield from _everything(points, details["policies"])


def draw(suite: Document) -> None:
    """A row a point: the bound, ours, the best of the others."""
    points = suite["details"]["points"]
    figure, axes = new_figure(8.0, 1.2 + 0.21 * len(points))
    ys = range(len(points))
    bounds, ours, best = zip(*(_three(row) for row in points.values()), strict=True)
    axes.hlines(ys, [100 * value for value in best], [100 * value for value in bounds], color=FAINT, linewidth=2)
    for shares, marker, colour, name in (
        (bounds, "|", INK, "bound"),
        (ours, "o", SERIES[0], OURS),
        (best, "D", SERIES[1], "best other policy"),
    ):
        axes.plot([100 * value for value in shares], ys, marker, color=colour, label=name, markersize=6, linestyle="")
    axes.set_yticks(list(ys), list(points), fontsize=8)
    axes.set_ylim(len(points) - 0.4, -0.6)
    label(axes, "SLO attainment, simulated", "requests in time, %, on modelled and published step times", "")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False, fontsize=9, labelcolor=INK)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    save(figure, PICTURE, dpi=120)


def _claims(suite: Document, others: Mapping[str, Document]) -> Iterator[str]:
    """The figures, and the same with the modelled ones scaled: whether they are held there too."""
    scaled = [f" modelled figures x {name} |" for name in others]
    yield from ("", "## Figures", "", f"| figure | value | target | |{''.join(scaled)}")
    yield "|---|---:|---|---|" + "---:|" * len(others)
    for figure in suite["figures"]:
        unit = f" {figure['unit']}" if figure["unit"] else ""
        target = "" if figure["limit"] is None else f"{figure['sense']} {figure['limit']:g}{unit}"
        held = {True: "held", False: "**short**", None: ""}[figure["held"]]
        same = [_same(found, figure["name"]) for found in others.values()]
        yield f"| {figure['name']} | {figure['value']:.4g}{unit} | {target} | {held} |" + "".join(
            f" {v} |" for v in same
        )
    if others:
        yield ""
        yield (
            "Scaled are encode, decode, batches and bytes (`python -m bench.suite --modelled-factor 0.7 --part 0.1`, "
            "and 1.3); played with a part of the seeds, against the papers' policies, `srtf` and `static`, without the "
            "search for rates: that conclusion is not repeated."
        )
    for name, found in others.items():
        ahead = ", ".join(_ahead(found))
        yield from ("", f"x {name}, another policy is ahead by more than half a point: {ahead or 'nowhere'}.")
    yield ""
    yield (
        "The share of the bound without batches is of the same points, every chunk of one request, in the bound as "
        "well. Gaps closed are means over the points where they are five points or more."
    )


def _ahead(found: Document) -> Iterator[str]:
    """Points at which another policy serves more than half a point more."""
    for name, row in found["details"]["points"].items():
        _, ours, best = _three(row)
        if best - ours > AHEAD:
            requests = row["policies"][OURS]["requests"]
            yield f"{name} ({row['best_other']} {percent(best)}, {OURS} {percent(ours)}; {requests} requests)"


def _distance(distance: Document) -> Iterator[str]:
    """What a tighter bound says of the points where the share of the bound is lowest."""
    rows = distance["details"]
    columns = list(next(iter(rows.values())))
    yield from ("", "## How much of the distance is the bound's", "")
    yield (
        "The bound is a linear programme in rank-seconds. A tighter one, still above every schedule, serves requests "
        "whole and runs nothing beside a group of all ranks (`python -m bench.distance`; "
        f"commit {distance['commit']}, seeds of its own, 150 requests a run, no batches)."
    )
    yield from ("", f"| point | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns))
    for name, row in rows.items():
        yield f"| {name} | {' | '.join(percent(row[column]) for column in columns)} |"
    yield ""
    for figure in distance["figures"]:
        yield f"- {figure['name']}: {figure['value']:.4g} {figure['unit']}".rstrip()


def _same(found: Document, name: str) -> str:
    """What a figure comes to in another document; the names of figures are unique."""
    figure = next((figure for figure in found["figures"] if figure["name"] == name), None)
    if figure is None:
        return NONE
    return f"{figure['value']:.4g}" + (" **short**" if figure["held"] is False else "")


def _points(points: list[Document]) -> Iterator[str]:
    columns = ("bound", OURS, "best other", "", "gap closed", "latency", *PAPERS)
    yield from ("", "## By point", "", f"| workload | point | {' | '.join(columns)} |")
    yield "|---|---|---:|---:|---:|---|" + "---:|" * (len(columns) - 4)
    file = ""
    for row in points:
        bound, ours, best = _three(row)
        name = f"**{percent(ours)}**" if ours >= best - TIE else percent(ours)
        closed = NONE if row["closed"] is None else percent(row["closed"])
        slower = NONE if row["slower"] is None else f"{row['slower']:.2f}x"
        papers = [percent(_attained(row, policy)) for policy in PAPERS]
        cells = (percent(bound), name, percent(best), row["best_other"], closed, slower, *papers)
        yield f"| {row['file'] if row['file'] != file else ''} | {row['point']} | {' | '.join(cells)} |"
        file = row["file"]
    yield ""
    yield (
        "In percent of the requests. Gap closed: from the best other policy to the bound, where that is five points or "
        "more. Latency: our mean over the best other policy's, on requests that both serve in time."
    )


def _policies(points: list[Document], details: Document) -> Iterator[str]:
    yield from (
        "",
        "## By policy",
        "",
        "| policy | mean | share of the bound | best at | CPU s |",
        "|---|---:|---:|---:|---:|",
    )
    found = []
    for policy in details["policies"]:
        shares = [_attained(row, policy) for row in points]
        of_bound = fmean(share / row["bound"] for share, row in zip(shares, points, strict=True) if row["bound"])
        best = sum(
            share >= max(_attained(row, other) for other in row["policies"]) - TIE
            for share, row in zip(shares, points, strict=True)
        )
        found.append((-fmean(shares), policy, of_bound, best))
    for mean, policy, of_bound, best in sorted(found):
        yield f"| {policy} | {percent(-mean)} | {percent(of_bound)} | {best} | {details['cpu_s'][policy]:.0f} |"


def _rates(rates: Mapping[str, Document]) -> Iterator[str]:
    if not rates:
        yield from ("", "The highest rate with 95% in time was not searched for in this run (`--no-rates`).")
        return
    yield from ("", "## The highest rate with 95% in time", "")
    near = f"{100 * CLOSE - 100:.0f}%"
    yield (
        f"As a factor of the file's, sought to within {near}; at most {SEEDS} seeds a probe. Once one of the others is "
        f"found to hold a rate, the next are asked whether they hold {near} more."
    )
    yield ""
    yield from (f"| workload | {OURS} | best other | | gain |", "|---|---:|---:|---|---:|")
    for name, edge in rates.items():
        gain = NONE if edge["gain"] is None else f"{edge['gain']:.2f}x"
        holder = edge["holder"] or NONE
        yield f"| {name} | {number(edge['ours'])} | {number(edge['theirs'])} | {holder} | {gain} |"


def _everything(points: list[Document], policies: list[str]) -> Iterator[str]:
    """All attainments with half their 95% interval."""
    yield from ("", "## All of it", "")
    yield (
        "Percent in time, ± half of what of its 95% interval over the seeds lies within 0 to 100; large pools and long "
        "days have two or three seeds of many requests, so wide ones."
    )
    yield ""
    yield f"| workload, point | {' | '.join(policies)} |"
    yield "|---|" + "---:|" * len(policies)
    for row in points:
        cells = []
        for policy in policies:
            found = row["policies"][policy]
            low, high = found["interval"]
            cells.append(f"{percent(found['attainment'])} ±{50 * (min(high, 1.0) - max(low, 0.0)):.1f}")
        yield f"| {row['file']} {row['point']} | {' | '.join(cells)} |"


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _three(row: Document) -> tuple[float, float, float]:
    """The bound, ours, the best of the others."""
    return row["bound"], _attained(row, OURS), _attained(row, row["best_other"])


def _attained(row: Document, policy: str) -> float:
    found: float = row["policies"][policy]["attainment"]
    return found


def _read(name: str) -> Document | None:
    path = RESULTS / f"{name}.json"
    found: Document | None = json.loads(path.read_text()) if path.is_file() else None
    return found
