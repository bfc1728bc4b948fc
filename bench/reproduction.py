"""Writes docs/reproduction.md: what four papers report of their schedulers, and what our readings of them get.

    python -m bench.reproduction            # a quick size: a look
    python -m bench.reproduction --full     # 3,000 requests a run

Workloads are those of recipes/workloads/, each at its first seeds; every policy of a setting sees the same arrivals.
What the papers claim is in `bench.papers`. Runs are kept by what they depend on (cli/trials.py), so a page that was
stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from bench.papers import PAPERS
from bench.papers.claims import AS_REPORTED, DIFFERS, UNKNOWN, WITHIN, Paper, Run, Score, Scores, Setting
from sfumato.cli.trials import Ran, Trial, play
from sfumato.workload.load import load
from sfumato.workload.spec import Poisson, Workload

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reproduction.md"


class Size(NamedTuple):
    """Requests a run (300, as TetriServe's), and seeds."""

    requests: int
    seeds: int


QUICK, FULL = Size(100, 2), Size(300, 10)


def played(setting: Setting, size: Size) -> dict[str, Score]:
    """The score of every run of a setting, by its label."""
    began = time.monotonic()
    workload = _workload(setting, size)
    trials = [
        Trial(workload=workload, policy=_policy(run), seed=seed)
        for run in setting.runs
        for seed in range(workload.seed, workload.seed + size.seeds)
    ]
    found = iter(play(trials, what=setting.name))
    scores = {run.label: score([next(found) for _ in range(size.seeds)]) for run in setting.runs}
    print(f"{setting.name}: {len(scores)} runs in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return scores


def _policy(run: Run) -> str:
    return ",".join([run.policy, *(f"{key}={json.dumps(value)}" for key, value in run.options.items())])


def _workload(setting: Setting, size: Size) -> Workload:
    workload = load(ROOT / "recipes" / "workloads" / f"{setting.file}.toml")
    shares = setting.shares
    pool = workload.pool
    if setting.pool < 1.0:  # a part of the pool with that part of the load
        also = tuple(_part(kind, setting.pool) for kind in pool.also)
        pool = replace(_part(pool, setting.pool), also=also)
    return replace(
        workload,
        points=(),
        pool=pool,
        arrivals=Poisson(per_second=setting.per_second) if setting.per_second else workload.arrivals,
        requests=round(size.requests * setting.length),
        horizon_s=None,
        rate_factor=workload.rate_factor * setting.rate * setting.pool,
        slo_factor=workload.slo_factor * setting.slo,
        classes=tuple(replace(entry, share=shares.get(entry.name, entry.share)) for entry in workload.classes),
    )


def _part(kind: Any, share: float) -> Any:
    return replace(kind, ranks=round(kind.ranks * share), nodes=max(1, round(kind.nodes * share)))


def score(runs: Sequence[Ran]) -> Score:
    """Attainment and latencies of what was delivered, of all and by the first word of the class."""
    met: dict[str, list[bool]] = {}
    took: dict[str, list[float]] = {"": []}
    for slo, latency, on_time in (one for ran in runs for one in ran.served):
        kind = slo.split("-")[0]
        met.setdefault(kind, []).append(bool(on_time))
        if latency is not None:
            took.setdefault(kind, []).append(latency)
            took[""].append(latency)
    verdicts = [one for found in met.values() for one in found]
    return Score(
        attainment=sum(verdicts) / len(verdicts),
        by_kind={kind: sum(found) / len(found) for kind, found in met.items()},
        took_s={kind: sorted(found) for kind, found in took.items()},
    )


# -- the page ---------------------------------------------------------------------------------------------------------


def page(papers: Sequence[Paper], scores: Mapping[str, Scores], size: Size, *, full: bool) -> str:
    """The whole of docs/reproduction.md."""
    command = "python -m bench.reproduction" + (" --full" if full else "")
    verdicts = [claim.judge(scores[paper.name])[1] for paper in papers for claim in paper.claims]
    agreed, differ = verdicts.count(AS_REPORTED), verdicts.count(DIFFERS)
    lines = [
        "# What the papers report, and what we get",
        "",
        f"Written by `{command}`: {size.requests} requests a run (more where said), {size.seeds} seeds, simulated, on "
        "the workloads of `recipes/workloads/`.",
        "**All step times, stages, batches and bytes here are modelled or published by others, none measured by us** "
        "(`profiles/README.md`): orderings and differences are comparable, absolute figures are not.",
        *(
            []
            if full
            else [
                "**A quick size: a figure may be off by 10 points, so orderings closer than that are not established.**"
            ]
        ),
        "",
        '"As reported" is direction and size: a gain (points in time, or how many times over one) is between '
        f"1/{WITHIN:.0f} and {WITHIN:.0f} times the reported one; where we know of no reported size, the direction is "
        "enough. Of an ablation or a sweep the gain is from the first to the last, and no step may go the other way. A "
        "bound holds or not. What is in another order differs; less than half a point is neither a gain nor a loss.",
        "",
        f"Of {len(verdicts)} claims {agreed} come out as reported, {len(verdicts) - agreed - differ} in the same "
        f"direction with a smaller or larger gain, and {differ} differ. Why those others may not come out is below "
        f'their table: guesses, not tested; "{UNKNOWN}" where we have none.',
    ]
    for paper in papers:
        lines += ["", f"## {paper.title}", "", paper.setup, ""]
        lines += _claims(paper, scores[paper.name])
        lines += ["", f"Not compared: {paper.missing}"] if paper.missing else []
        lines += ["", "| setting | run | in time | mean s | p95 s |", "|---|---|---|---|---|"]
        lines += [
            f"| {setting.name} | {label} | {one.shown} | {one.mean_s():.1f} | {one.quantile_s(0.95):.1f} |"
            for setting in paper.settings
            for label, one in scores[paper.name][setting.name].items()
        ]
    return "\n".join(lines) + "\n"


def _claims(paper: Paper, scores: Scores) -> list[str]:
    lines, remarks = ["| claim | paper reports | we get | |", "|---|---|---|---|"], []
    for claim in paper.claims:
        ours, verdict = claim.judge(scores)
        lines.append(f"| {claim.what} | {claim.reported} | {ours} | {verdict} |")
        if verdict != AS_REPORTED:
            remarks.append(f"- {claim.what}: {claim.because(verdict)}")
    return [*lines, *([""] if remarks else []), *remarks]


def main() -> None:
    """Play every setting, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.reproduction", description=__doc__)
    parser.add_argument("--full", action="store_true", help="3,000 requests a run")
    full = parser.parse_args().full
    size = FULL if full else QUICK
    scores = {paper.name: {setting.name: played(setting, size) for setting in paper.settings} for paper in PAPERS}
    PAGE.write_text(page(PAPERS, scores, size, full=full))


if __name__ == "__main__":
    main()
