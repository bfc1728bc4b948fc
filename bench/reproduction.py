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
from bench.papers.claims import Paper, Run, Score, Scores, Setting
from sfumato.cli.trials import Ran, Trial, play
from sfumato.workload.load import load
from sfumato.workload.spec import Workload

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
        requests=size.requests,
        horizon_s=None,
        rate_factor=workload.rate_factor * setting.rate * setting.pool,
        slo_factor=workload.slo_factor * setting.slo,
        classes=tuple(replace(entry, share=shares.get(entry.name, entry.share)) for entry in workload.classes),
    )


def _part(kind: Any, share: float) -> Any:
    return replace(kind, ranks=round(kind.ranks * share), nodes=max(1, round(kind.nodes * share)))


def score(runs: Sequence[Ran]) -> Score:
    """Attainment, of all and by the first word of the class, and latencies of what was delivered."""
    kinds: dict[str, list[bool]] = {}
    for slo, _, met in (one for ran in runs for one in ran.served):
        kinds.setdefault(slo.split("-")[0], []).append(bool(met))
    took = sorted(latency for ran in runs for _, latency, _ in ran.served if latency is not None)
    verdicts = [met for found in kinds.values() for met in found]
    return Score(
        attainment=sum(verdicts) / len(verdicts),
        by_kind={kind: sum(met) / len(met) for kind, met in kinds.items()},
        mean_s=sum(took) / len(took),
        p95_s=took[int(0.95 * (len(took) - 1))],
    )


# -- the page ---------------------------------------------------------------------------------------------------------


def page(papers: Sequence[Paper], scores: Mapping[str, Scores], size: Size, *, full: bool) -> str:
    """The whole of docs/reproduction.md."""
    command = "python -m bench.reproduction" + (" --full" if full else "")
    claims = [(claim, *claim.judge(scores[paper.name])) for paper in papers for claim in paper.claims]
    agreed = sum(agrees for _, _, agrees in claims)
    lines = [
        "# What the papers report, and what we get",
        "",
        f"Written by `{command}`: {size.requests} requests a run, {size.seeds} seeds, simulated, on the workloads of "
        "`recipes/workloads/`.",
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
        '"As reported" is the direction, not the size: who is above whom (an ablation: no step below the one before).',
        f"{agreed} of {len(claims)} claims come out as reported; why others may not is below their table: guesses, not "
        "tested.",
    ]
    for paper in papers:
        lines += ["", f"## {paper.title}", "", paper.setup, ""]
        lines += _claims(paper, scores[paper.name])
        lines += ["", "| setting | run | in time | mean s | p95 s |", "|---|---|---|---|---|"]
        lines += [
            f"| {setting.name} | {label} | {one.shown} | {one.mean_s:.1f} | {one.p95_s:.1f} |"
            for setting in paper.settings
            for label, one in scores[paper.name][setting.name].items()
        ]
    return "\n".join(lines) + "\n"


def _claims(paper: Paper, scores: Scores) -> list[str]:
    lines, remarks = ["| claim | paper reports | we get | |", "|---|---|---|---|"], []
    for claim in paper.claims:
        ours, agrees = claim.judge(scores)
        verdict = "as reported" if agrees else "**differs**"
        lines.append(f"| {claim.what} | {claim.reported} | {ours} | {verdict} |")
        if not agrees:
            remarks.append(f"- {claim.what}: {claim.why}")
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
