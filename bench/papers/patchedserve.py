"""PatchedServe, later MixFusion: its settings, its claims."""

from __future__ import annotations

from bench.papers.claims import Claim, Paper, Run, Setting, above, at_least

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
