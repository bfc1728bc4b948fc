"""TridentServe: its settings, its claims."""

from __future__ import annotations

from bench.papers.claims import Claim, Paper, Run, Setting, above, faster

OURS, STATIC = "TridentServe", ("B1 static, FIFO", "B2 bucketed")
TRI = (
    Run(STATIC[0], "static"),
    Run(STATIC[1], "bucketed"),
    Run("B4 SRTF", "srtf"),
    Run("B6 stage-level SRTF", "srtf_stages"),
    Run("no virtual replicas", "tridentserve", {"virtual": False}),
    Run("greedy dispatch", "tridentserve", {"ilp": False}),
    Run("pipeline-level", "tridentserve", {"stages": False}),
    Run(OURS, "tridentserve"),
)
VIDEO_RUNS = tuple(run for run in TRI if run.label in (*STATIC, "B6 stage-level SRTF", OURS))
FLUX, HUNYUAN, COG = "FLUX.1, medium", "HunyuanVideo", "CogVideoX"
VIDEOS = {"image-512": 0.0, "image-1024": 0.0}
PREEMPTION = (
    "our SRTF, also by stages, pauses at step boundaries, which the paper's baselines cannot; a policy that runs "
    "stages to their end makes short requests wait behind long ones"
)
STRICT = (
    "the one queue of our static pipelines is strict: a wide request that waits blocks all behind it, the short too"
)
SHORT = (
    "static pipelines are overloaded, so that their latencies grow with the run: a quick one is a third of a full one, "
    "which has a quarter of the public trace's requests but takes half its time"
)
TRIDENTSERVE = Paper(
    name="tridentserve",
    title="TridentServe (arXiv 2510.02838)",
    setup="A quarter of 128 L20s with a quarter of the load: FLUX.1-dev (28 steps), HunyuanVideo (4 steps), and "
    "CogVideoX1.5-5B (6 steps; three of its sizes, at the load of the public trace; at full size a quarter of its "
    "requests, 675 a run). Step times as published, stages, batches and bytes modelled; SLOs at 0.35 of the public "
    "code's formula for FLUX; for CogVideoX about that formula, SLO and length being of several tried the nearest to "
    "the paper's figures.",
    settings=(
        Setting(FLUX, "tridentserve-flux", TRI, rate=2.3, pool=0.25),
        Setting(HUNYUAN, "tridentserve-hunyuan", TRI, pool=0.25),
        Setting(
            COG, "tridentserve-shifting", VIDEO_RUNS, slo=2.0, pool=0.25, length=2.25, shares=VIDEOS, per_second=2.75
        ),
    ),
    claims=(
        Claim(
            "SLO attainment over static pipelines, FLUX",
            "24% to 95%: +71 (SD3; 2.5 times elsewhere)",
            above(FLUX, OURS, *STATIC, by=0.71),
            PREEMPTION,
        ),
        Claim("Mean under static pipelines, FLUX", "3.6 times", faster(FLUX, OURS, STATIC[0], 3.6), PREEMPTION, STRICT),
        Claim(
            "p95 under static pipelines, FLUX",
            "4.1 times",
            faster(FLUX, OURS, STATIC[0], 4.1, 0.95),
            PREEMPTION,
            STRICT,
        ),
        Claim(
            "SLO attainment over static pipelines, CogVideoX",
            "15% to 86%: +71",
            above(COG, OURS, *STATIC, by=0.71),
            SHORT,
        ),
        Claim(
            "Mean under static pipelines, CogVideoX",
            "320 s to 78 s: 4.1 times",
            faster(COG, OURS, STATIC[0], 320 / 78),
            SHORT,
        ),
        Claim(
            "p95 under static pipelines, CogVideoX",
            "550 s to 230 s: 2.4 times",
            faster(COG, OURS, STATIC[0], 550 / 230, 0.95),
            SHORT,
        ),
        Claim(
            "Over pipeline-level SRTF, FLUX",
            "above (B1 to B4 run out of memory)",
            above(FLUX, OURS, "B4 SRTF"),
            PREEMPTION,
        ),
        Claim("Over stage-level SRTF, FLUX", "above", above(FLUX, OURS, "B6 stage-level SRTF"), PREEMPTION),
        Claim(
            "Over stage-level SRTF, HunyuanVideo",
            "above",
            above(HUNYUAN, OURS, "B6 stage-level SRTF"),
            PREEMPTION,
        ),
        Claim(
            "Virtual replicas pay where the stages do not fit together",
            "claimed by design; no ablation known",
            above(HUNYUAN, OURS, "no virtual replicas"),
            ("without them weights take turns on each rank, which a fast link makes cheap"),
        ),
        Claim(
            "Stages apart serve more than a group kept for all",
            "stage-level above pipeline-level",
            above(FLUX, OURS, "pipeline-level"),
            (
                "encode and decode are 2 to 10% of a request here, and a group kept whole is a group that the next "
                "wide request finds whole"
            ),
        ),
        Claim(
            "The programme serves more than greedy dispatch, FLUX",
            "claimed by design; no ablation known",
            above(FLUX, OURS, "greedy dispatch"),
            "few ranks are free at once, so that the programme and the greedy choice are nearly always the same",
        ),
    ),
    missing="SD3 alone (24% to 95%), whose trace is not public; the light, heavy, dynamic and proprietary loads, of "
    "which we know names only.",
)
