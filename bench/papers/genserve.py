"""GenServe: its settings, its claims."""

from __future__ import annotations

from bench.papers.claims import Claim, Paper, Run, Setting, above, at_least, rising

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
