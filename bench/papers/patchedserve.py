"""PatchedServe, later MixFusion: its settings, its claims."""

from __future__ import annotations

from bench.papers.claims import Claim, Paper, Run, Setting, above, at_least, goodput, most_above

NIRVANA, MIXED, OURS = "NIRVANA + ORCA", "Mixed-Cache (FCFS)", "MixFusion"
COMPARED = (Run(NIRVANA, "same_size"), Run(MIXED, "mixed"), Run(OURS, "patchedserve"))
PATCHED = (*COMPARED, Run("table, no predictor", "patchedserve", {"latency": "table"}))
FIVE, FASTER, THREE = "SLO 5x", "SLO 5x, 1.4 times the rate", "SLO 3x, 1.4 times the rate"
FILE_RATE = 0.55  # of the workload file, a second
RATES = {f"SLO 5x, {rate} a second": rate for rate in (0.5, 0.6, 0.7, 0.8, 0.9)}
SIZES = ("512", "768", "1024")
HALVES = {f"half {size}": {other: 0.5 if other == size else 0.25 for other in SIZES} for size in SIZES}
KERNELS = (
    "its patch cache and kernels are not simulated: batches are the modelled ones, which win less than its patches do"
)
LIGHT = "at this rate every order of mixed batches serves nearly all, so that the order has nothing to win"
LATE = (
    "MixFusion puts off what would be late, which pays more the longer the queue; how long the paper's are is not known"
)
PATCHEDSERVE = Paper(
    name="patchedserve",
    title="PatchedServe / MixFusion (arXiv 2501.09253, PPoPP'26)",
    setup="One H100, SD3-Medium at 512, 768 and 1024, 50 steps. Step times modelled from two figures of its text.",
    settings=(
        Setting(FIVE, "mixfusion", PATCHED),
        Setting(FASTER, "mixfusion", PATCHED, rate=1.4),
        Setting(THREE, "mixfusion", PATCHED, rate=1.4, slo=0.6),
        *(Setting(name, "mixfusion", COMPARED, rate=rate / FILE_RATE) for name, rate in RATES.items()),
        *(Setting(name, "mixfusion", COMPARED, rate=1.4, shares=shares) for name, shares in HALVES.items()),
    ),
    claims=(
        Claim("Over same-size batching", "+30 on average", above(FIVE, OURS, NIRVANA, by=0.30), LIGHT),
        Claim(
            "Over same-size batching, 1.4 times the rate",
            "+30 on average",
            above(FASTER, OURS, NIRVANA, by=0.30),
            KERNELS,
        ),
        Claim(
            "Rate at which 90% are in time, over same-size batching",
            "5.33 times",
            goodput(RATES, OURS, NIRVANA, 5.33),
            KERNELS,
        ),
        Claim(
            "Rate at which 90% are in time, over FCFS with the same batches",
            "1.06 times",
            goodput(RATES, OURS, MIXED, 1.06),
            larger=LATE,
        ),
        Claim(
            "Over FCFS with the same batches", "above; no points known for this mix", above(FIVE, OURS, MIXED), LIGHT
        ),
        Claim(
            "Over FCFS with the same batches, 1.4 times the rate",
            "above; no points known for this mix",
            above(FASTER, OURS, MIXED),
        ),
        Claim(
            "Over FCFS with the same batches, half of one size, 1.4 times the rate",
            "up to +11",
            most_above(tuple(HALVES), OURS, MIXED, by=0.11),
            KERNELS,
            LATE,
        ),
        Claim("At least 90% kept at 5x", "above 90%", at_least(FIVE, OURS, 0.9), KERNELS),
        Claim(
            "At 3x same-size batching beats FCFS mixed",
            "NIRVANA above Mixed-Cache",
            above(THREE, NIRVANA, MIXED),
            (
                "NIRVANA also reuses old images, which is left out here; without that, batches of one size that prefer "
                "new arrivals make those under way wait"
            ),
        ),
        Claim("At 3x MixFusion beats both", "above both", above(THREE, OURS, NIRVANA, MIXED), KERNELS),
    ),
    missing="SDXL; two to eight GPUs and SLOs of 10x (no figures known); the rate at which 90% are in time in unequal "
    "mixes (1.1 times that of FCFS), which it measures on eight GPUs.",
)
