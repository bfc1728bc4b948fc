"""What four papers claim of their schedulers, in which setting we look, and how we judge: all that is told of them.

A setting is a workload of the suite, at a rate and SLO scale, on a part of its pool where that is large, with the runs
that are compared in it. A claim says what is reported, reads our scores, and why a difference would be no surprise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple


class Score(NamedTuple):
    """What a policy reached in a setting."""

    attainment: float
    by_kind: dict[str, float]
    mean_s: float
    p95_s: float

    @property
    def shown(self) -> str:
        """Overall, and images and videos apart where there are both."""
        parts = {"image", "video"} & set(self.by_kind)
        apart = " / ".join(percent(self.by_kind[kind]) for kind in sorted(parts))
        return percent(self.attainment) + (f" ({apart})" if len(parts) == 2 else "")


Scores = Mapping[str, Mapping[str, Score]]  # setting -> label -> score


class Run(NamedTuple):
    """A policy with options, under the paper's name for it."""

    label: str
    policy: str
    options: dict[str, Any] = {}


class Setting(NamedTuple):
    """`file` of recipes/workloads, its rate and SLOs multiplied, `pool` the part of its ranks."""

    name: str
    file: str
    runs: tuple[Run, ...]
    rate: float = 1.0
    slo: float = 1.0
    pool: float = 1.0
    shares: Mapping[str, float] = {}


class Claim(NamedTuple):
    """`judge` gives our figures in words, and whether they say what the paper does."""

    what: str
    reported: str
    judge: Callable[[Scores], tuple[str, bool]]
    why: str


class Paper(NamedTuple):
    """One paper's part of the page."""

    name: str
    title: str
    setup: str
    settings: tuple[Setting, ...]
    claims: tuple[Claim, ...]


def percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def rising(setting: str, *labels: str) -> Callable[[Scores], tuple[str, bool]]:
    """No run below the one before."""

    def judge(scores: Scores) -> tuple[str, bool]:
        found = [scores[setting][label].attainment for label in labels]
        return " -> ".join(map(percent, found)), all(b >= a for a, b in pairwise(found))

    return judge


def above(setting: str, ours: str, *others: str) -> Callable[[Scores], tuple[str, bool]]:
    """Points of one run over the best of others."""

    def judge(scores: Scores) -> tuple[str, bool]:
        best = max(others, key=lambda label: scores[setting][label].attainment)
        mine, theirs = scores[setting][ours].attainment, scores[setting][best].attainment
        return f"{percent(mine)} against {percent(theirs)} ({best}): {100 * (mine - theirs):+.0f} points", mine > theirs

    return judge


def at_least(setting: str, label: str, least: float, kind: str = "") -> Callable[[Scores], tuple[str, bool]]:
    """A run's attainment, of a kind of request if it is named."""

    def judge(scores: Scores) -> tuple[str, bool]:
        one = scores[setting][label]
        value = one.by_kind[kind] if kind else one.attainment
        return percent(value), value >= least

    return judge


def at_most(setting: str, most: float, *labels: str) -> Callable[[Scores], tuple[str, bool]]:
    """The best attainment of some runs."""

    def judge(scores: Scores) -> tuple[str, bool]:
        best = max(labels, key=lambda label: scores[setting][label].attainment)
        value = scores[setting][best].attainment
        return f"{percent(value)} ({best})", value <= most

    return judge


def faster(setting: str, ours: str, other: str, times: float) -> Callable[[Scores], tuple[str, bool]]:
    """Mean and p95 latency of another run over ours; at least half of what is reported agrees."""

    def judge(scores: Scores) -> tuple[str, bool]:
        mine, theirs = scores[setting][ours], scores[setting][other]
        mean, p95 = theirs.mean_s / mine.mean_s, theirs.p95_s / mine.p95_s
        return f"mean {mean:.1f} times, p95 {p95:.1f} times", mean >= times / 2

    return judge


# -- TetriServe -------------------------------------------------------------------------------------------------------

FIXED = tuple(Run(f"SP={degree}", "fixed", {"degree": degree}) for degree in (1, 2, 4, 8))
SP = tuple(run.label for run in FIXED)
TETRI = (
    *FIXED,
    Run("RSSP", "static", {"rule": "rssp"}),
    Run("DP only", "tetriserve", {"placement": False, "scale_up": False}),
    Run("+ placement", "tetriserve", {"scale_up": False}),
    Run("+ scale-up", "tetriserve"),
)
GRAINS = (*TETRI, *(Run(f"{n} steps a round", "tetriserve", {"granularity": n}) for n in (1, 10)))
UNIFORM, UNIFORM15, SKEWED = "Uniform, 1.0x", "Uniform, 1.5x", "Skewed, 1.0x"
ABLATION = ("DP only", "+ placement", "+ scale-up")
BASES = (
    "the paper prints no step times and no step count: with ours, SLOs at 1.0x lie further from or nearer to what one "
    "request takes alone, and the pool is loaded otherwise; its own tables 3 and 5 give .42 and .63 for one setting"
)
TETRISERVE = Paper(
    name="tetriserve",
    title="TetriServe (arXiv 2510.01565, ASPLOS'26)",
    setup="8 H100s, FLUX.1-dev, 28 steps (the paper prints no count), 12 requests a minute; modelled step times.",
    settings=(
        Setting(UNIFORM, "tetriserve-uniform", GRAINS),
        Setting(UNIFORM15, "tetriserve-uniform", TETRI, slo=1.5),
        Setting(SKEWED, "tetriserve-skewed", TETRI),
    ),
    claims=(
        Claim("No fixed degree exceeds 0.6, Uniform 1.0x", "below 60%", at_most(UNIFORM, 0.6, *SP), BASES),
        Claim("Over the best fixed degree, Uniform 1.0x", "+10 on average", above(UNIFORM, "+ scale-up", *SP), BASES),
        Claim("Over the best fixed degree, Skewed 1.0x", "+15 on average", above(SKEWED, "+ scale-up", *SP), BASES),
        Claim("Over RSSP, Uniform 1.0x", "+10 (32% to 42%)", above(UNIFORM, "+ scale-up", "RSSP"), BASES),
        Claim("Over RSSP, Skewed 1.0x", "+15 (4% to 19%)", above(SKEWED, "+ scale-up", "RSSP"), BASES),
        Claim(
            "Ablation, Uniform 1.0x",
            "54% -> 56% -> 63%",
            rising(UNIFORM, *ABLATION),
            (
                "our knapsack already breaks ties by GPU-seconds to come and gives ranks to whom it put off, so that "
                "less is left for the later mechanisms"
            ),
        ),
        Claim(
            "Ablation, Uniform 1.5x: placement alone loses",
            "74% -> 69% -> 78%",
            above(UNIFORM15, "DP only", "+ placement"),
            "placement changes nothing here: a move costs about a millisecond in these workloads",
        ),
        Claim("Ablation, Skewed 1.0x", "27% -> 31% -> 36%", rising(SKEWED, *ABLATION), BASES),
        Claim(
            "Near perfect at 1.5x, Uniform",
            "near 100% (figure 7), 78% (table 5)",
            at_least(UNIFORM15, "+ scale-up", 0.78),
            BASES,
        ),
        Claim(
            "5 steps a round serve more than 1",
            "best of 1 to 15",
            above(UNIFORM, "+ scale-up", "1 steps a round"),
            (
                "the paper's single-step rounds lose to control overhead; a launch costs 1 ms here, so that finer "
                "rounds plan better and lose nothing"
            ),
        ),
        Claim(
            "5 steps a round serve more than 10",
            "10 too coarse",
            above(UNIFORM, "+ scale-up", "10 steps a round"),
            "at this load the difference is within the noise of the quick size",
        ),
    ),
)

# -- GenServe ---------------------------------------------------------------------------------------------------------

GEN = (
    Run("FCFS", "fixed"),
    Run("SJF", "sjf"),
    Run("SRTF", "srtf"),
    Run("RASP", "static", {"rule": "rasp"}),
    Run("+ preemption", "genserve", {"dp": False, "elastic": False}),
    Run("+ DP", "genserve", {"elastic": False}),
    Run("GenServe", "genserve"),
)
HALF, MOSTLY = "50% video, 12/min", "80% video, 12/min"
MOSTLY_VIDEO = {"image-512": 0.1, "image-1024": 0.1, "video-256p": 0.2667, "video-480p": 0.2667, "video-720p": 0.2667}
TIMES = (
    "neither its step times nor its base SLOs are printed; with the modelled ones videos are longer against their SLOs"
    ", and the queue of a non-preemptive policy costs more"
)
GENSERVE = Paper(
    name="genserve",
    title="GenServe (arXiv 2604.04335)",
    setup="8 RTX PRO 6000, SD3.5-Medium and Wan2.2-5B. Modelled step times and SLOs (the full text was not available): "
    "at half the paper's default rate the load is like its heavier one.",
    settings=(Setting(HALF, "genserve", GEN), Setting(MOSTLY, "genserve", GEN, shares=MOSTLY_VIDEO)),
    claims=(
        Claim("Over SRTF, the strongest baseline", "78% against 71%: +7", above(HALF, "GenServe", "SRTF"), TIMES),
        Claim(
            "Over FCFS, SJF and RASP",
            "78% against 59%, 61%, 56%",
            above(HALF, "GenServe", "FCFS", "SJF", "RASP"),
            TIMES,
        ),
        Claim(
            "80% video, over SRTF",
            "41% against 26%: +15",
            above(MOSTLY, "GenServe", "SRTF"),
            (
                "a video that SRTF never pauses on one GPU makes its deadline with our modelled times, which leaves "
                "elastic degrees little to win; the paper's SRTF serves 14% of its videos"
            ),
        ),
        Claim("Images all in time", "100%", at_least(HALF, "GenServe", 0.97, "image"), TIMES),
        Claim(
            "Ablation (heavier setting)",
            "20% -> 39% -> 58% -> 63%",
            rising(HALF, "FCFS", "+ preemption", "+ DP", "GenServe"),
            (
                "our pauses without the programme already choose by slack among all videos, which takes part of what "
                "the programme adds"
            ),
        ),
    ),
)

# -- TridentServe -----------------------------------------------------------------------------------------------------

TRI = (
    Run("B1 static, FIFO", "static"),
    Run("B2 bucketed", "bucketed"),
    Run("B4 SRTF", "srtf"),
    Run("B6 stage-level SRTF", "srtf_stages"),
    Run("no virtual replicas", "tridentserve", {"virtual": False}),
    Run("greedy dispatch", "tridentserve", {"ilp": False}),
    Run("pipeline-level", "tridentserve", {"stages": False}),
    Run("TridentServe", "tridentserve"),
)
FLUX, HUNYUAN = "FLUX.1, medium", "HunyuanVideo"
PREEMPTION = (
    "our SRTF, also by stages, pauses at step boundaries, which the paper's baselines cannot; a policy that runs "
    "stages to their end makes short requests wait behind long ones"
)
TRIDENTSERVE = Paper(
    name="tridentserve",
    title="TridentServe (arXiv 2510.02838)",
    setup="A quarter of 128 L20s with a quarter of the load: FLUX.1-dev (28 steps) and HunyuanVideo (4 steps). Step "
    "times as published, stages, batches and bytes modelled; SLOs at 0.35 of the public code's formula for FLUX.",
    settings=(
        Setting(FLUX, "tridentserve-flux", TRI, rate=2.3, pool=0.25),
        Setting(HUNYUAN, "tridentserve-hunyuan", TRI, pool=0.25),
    ),
    claims=(
        Claim(
            "SLO attainment over static pipelines, FLUX",
            "2.5 times and more (24% to 95%, SD3)",
            above(FLUX, "TridentServe", "B1 static, FIFO", "B2 bucketed"),
            PREEMPTION,
        ),
        Claim(
            "Mean latency under static pipelines, FLUX",
            "3.6 times, p95 4.1 times",
            faster(FLUX, "TridentServe", "B1 static, FIFO", 3.6),
            PREEMPTION,
        ),
        Claim(
            "Over pipeline-level SRTF, FLUX",
            "above (B1 to B4 run out of memory)",
            above(FLUX, "TridentServe", "B4 SRTF"),
            PREEMPTION,
        ),
        Claim("Over stage-level SRTF, FLUX", "above", above(FLUX, "TridentServe", "B6 stage-level SRTF"), PREEMPTION),
        Claim(
            "Over stage-level SRTF, HunyuanVideo",
            "above",
            above(HUNYUAN, "TridentServe", "B6 stage-level SRTF"),
            PREEMPTION,
        ),
        Claim(
            "Virtual replicas pay where the stages do not fit together",
            "claimed by design; no ablation known",
            above(HUNYUAN, "TridentServe", "no virtual replicas"),
            ("without them weights take turns on each rank, which a fast link makes cheap"),
        ),
        Claim(
            "Stages apart serve more than a group kept for all",
            "stage-level above pipeline-level",
            above(FLUX, "TridentServe", "pipeline-level"),
            (
                "encode and decode are 2 to 10% of a request here, and a group kept whole is a group that the next "
                "wide request finds whole"
            ),
        ),
        Claim(
            "The programme serves more than greedy dispatch, FLUX",
            "claimed by design; no ablation known",
            above(FLUX, "TridentServe", "greedy dispatch"),
            "few ranks are free at once, so that the programme and the greedy choice are nearly always the same",
        ),
    ),
)

# -- PatchedServe -----------------------------------------------------------------------------------------------------

PATCHED = (
    Run("NIRVANA + ORCA", "same_size"),
    Run("Mixed-Cache (FCFS)", "mixed"),
    Run("table, no predictor", "patchedserve", {"latency": "table"}),
    Run("MixFusion", "patchedserve"),
)
FIVE, FASTER, THREE = "SLO 5x", "SLO 5x, 1.4 times the rate", "SLO 3x, 1.4 times the rate"
KERNELS = (
    "its patch cache and kernels are not simulated: batches are the modelled ones, which win less than its patches do"
)
LIGHT = "at this rate every order of mixed batches serves nearly all, so that the order has nothing to win"
PATCHEDSERVE = Paper(
    name="patchedserve",
    title="PatchedServe / MixFusion (arXiv 2501.09253, PPoPP'26)",
    setup="One H100, SD3-Medium at 512, 768 and 1024, 50 steps. Step times modelled from two figures of its text.",
    settings=(
        Setting(FIVE, "mixfusion", PATCHED),
        Setting(FASTER, "mixfusion", PATCHED, rate=1.4),
        Setting(THREE, "mixfusion", PATCHED, rate=1.4, slo=0.6),
    ),
    claims=(
        Claim("Over same-size batching", "+30 on average", above(FIVE, "MixFusion", "NIRVANA + ORCA"), LIGHT),
        Claim(
            "Over same-size batching, 1.4 times the rate",
            "+30 on average",
            above(FASTER, "MixFusion", "NIRVANA + ORCA"),
            KERNELS,
        ),
        Claim(
            "Over FCFS with the same batches",
            "up to +11 (1.06 to 1.1 times the goodput)",
            above(FIVE, "MixFusion", "Mixed-Cache (FCFS)"),
            LIGHT,
        ),
        Claim("At least 90% kept at 5x", "above 90%", at_least(FIVE, "MixFusion", 0.9), KERNELS),
        Claim(
            "Over FCFS with the same batches, 1.4 times the rate",
            "up to +11 (1.06 to 1.1 times the goodput)",
            above(FASTER, "MixFusion", "Mixed-Cache (FCFS)"),
            KERNELS,
        ),
        Claim(
            "At 3x same-size batching beats FCFS mixed",
            "NIRVANA above Mixed-Cache",
            above(THREE, "NIRVANA + ORCA", "Mixed-Cache (FCFS)"),
            (
                "NIRVANA also reuses old images, which is left out here; without that, batches of one size that prefer "
                "new arrivals make those under way wait"
            ),
        ),
        Claim(
            "At 3x MixFusion beats both",
            "above both",
            above(THREE, "MixFusion", "NIRVANA + ORCA", "Mixed-Cache (FCFS)"),
            KERNELS,
        ),
    ),
)

PAPERS = (TETRISERVE, GENSERVE, TRIDENTSERVE, PATCHEDSERVE)
