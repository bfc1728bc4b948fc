"""GenServe: its settings, its claims."""

from __future__ import annotations

from bench.papers.claims import Claim, Paper, Run, Setting, above, at_least, falling, faster, rising

GEN = (
    Run("FCFS", "fixed"),
    Run("SJF", "sjf"),
    Run("SRTF", "srtf"),
    Run("RASP", "static", {"rule": "rasp"}),
    Run("+ preemption", "genserve", {"dp": False, "elastic": False}),
    Run("+ DP", "genserve", {"elastic": False}),
    Run("GenServe", "genserve"),
)
BEST = (GEN[2], GEN[-1])
HALF, MOSTLY = "50% video, 12/min", "80% video, 12/min"
MOSTLY_VIDEO = {"image-512": 0.1, "image-1024": 0.1, "video-256p": 0.2667, "video-480p": 0.2667, "video-720p": 0.2667}
SIGMA, SLOWER, FASTER = "50% video, 12/min, sigma 1.3", "50% video, 9/min", "50% video, 18/min"
TIMES = (
    "neither its step times nor its base SLOs are printed; with the modelled ones videos are longer against their SLOs"
    ", and the queue of a non-preemptive policy costs more"
)
HEAVY = (
    "720p videos are a sixth of the requests and, with the modelled times on one GPU, nearly three quarters of the "
    "work: giving up some of those keeps most others in time at any of these rates"
)
NARROW = (
    "our SRTF runs at one GPU, where with the modelled times a 480p video takes as long as its SLO at sigma 1.0 and a "
    "720p one twice as long: at any load those are late, so that its own figures hardly fall with the load"
)


def _over(setting: str, what: str, reported: str, by: float, kind: str = "") -> Claim:
    return Claim(what, reported, above(setting, "GenServe", "SRTF", by=by, kind=kind), larger=NARROW)


GENSERVE = Paper(
    name="genserve",
    title="GenServe (arXiv 2604.04335)",
    setup="8 RTX PRO 6000, SD3.5-Medium and Wan2.2-5B. Modelled step times and SLOs (the full text was not available): "
    "at half the paper's default rate the load is like its heavier one, so that every rate is half the paper's.",
    settings=(
        Setting(HALF, "genserve", GEN),
        Setting(MOSTLY, "genserve", GEN, shares=MOSTLY_VIDEO),
        Setting(SIGMA, "genserve", BEST, slo=1.3),
        Setting(SLOWER, "genserve", BEST, rate=0.75),
        Setting(FASTER, "genserve", BEST, rate=1.5),
    ),
    claims=(
        _over(HALF, "Over SRTF, the strongest baseline", "78% against 71%: +7", 0.07),
        Claim(
            "Over FCFS, SJF and RASP",
            "78% against 59%, 61%, 56%: +17",
            above(HALF, "GenServe", "FCFS", "SJF", "RASP", by=0.17),
            TIMES,
            TIMES,
        ),
        _over(HALF, "Videos, over SRTF", "56% against 46%: +10", 0.10, "video"),
        _over(SIGMA, "Sigma 1.3, over SRTF", "90% against 83%: +7", 0.07),
        _over(MOSTLY, "80% video, over SRTF", "41% against 26%: +15", 0.15),
        _over(SLOWER, "18 a minute (9 here), over SRTF", "87% against 74%: +13", 0.13),
        Claim(
            "18, 24, 36 a minute (9, 12, 18 here)",
            "87% -> 78% -> 64%",
            falling("GenServe", SLOWER, HALF, FASTER, by=0.23),
            HEAVY,
        ),
        Claim("Images all in time", "100%", at_least(HALF, "GenServe", 0.97, "image"), TIMES),
        Claim(
            "p90 of images, FCFS to GenServe",
            "18.0 s to 5.8 s: 3.1 times",
            faster(HALF, "GenServe", "FCFS", 3.1, 0.9, "image"),
            larger=TIMES,
        ),
        Claim(
            "Median of videos, FCFS to GenServe",
            "89 s to 52 s: 1.7 times",
            faster(HALF, "GenServe", "FCFS", 89 / 52, 0.5, "video"),
            larger=TIMES,
        ),
        Claim(
            "p99 of videos, GenServe to FCFS: worse",
            "229 s to 166 s: 1.4 times",
            faster(HALF, "FCFS", "GenServe", 229 / 166, 0.99, "video"),
        ),
        Claim(
            "Ablation (heavier setting)",
            "20% -> 39% -> 58% -> 63%",
            rising(HALF, "FCFS", "+ preemption", "+ DP", "GenServe", by=0.43),
            (
                "our pauses without the programme already choose by slack among all videos, which takes part of what "
                "the programme adds"
            ),
        ),
    ),
    missing="bursty arrivals, unequal sizes, 20% video and sigma 0.8 (no figures known); the headline of up to 44% "
    "(its setting is not known).",
)
