"""TridentServe: its settings, its claims."""

from __future__ import annotations

from bench.papers.claims import Claim, Paper, Run, Setting, above, faster

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
