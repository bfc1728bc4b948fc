"""TetriServe: its settings, its claims."""

from __future__ import annotations

from bench.papers.claims import Claim, Paper, Run, Setting, above, at_least, at_most, nowhere_below, rising

FIXED = tuple(Run(f"SP={degree}", "fixed", {"degree": degree}) for degree in (1, 2, 4, 8))
SP = tuple(run.label for run in FIXED)
ABLATED = (
    Run("DP only", "tetriserve", {"placement": False, "scale_up": False}),
    Run("+ placement", "tetriserve", {"scale_up": False}),
    Run("+ scale-up", "tetriserve"),
)
ABLATION = tuple(run.label for run in ABLATED)
TETRI = (*FIXED, Run("RSSP", "static", {"rule": "rssp"}), *ABLATED)
OVER = (*FIXED, ABLATED[-1])
GRAINS = tuple(Run(f"{n} a round", "tetriserve", {"granularity": n}) for n in (1, 2, 5, 10, 15))
UNIFORM, UNIFORM11, UNIFORM15 = "Uniform 1.0x", "Uniform 1.1x", "Uniform 1.5x"
SKEWED, SKEWED12, SKEWED15 = "Skewed 1.0x", "Skewed 1.2x", "Skewed 1.5x"
RATES = {"Uniform 6/min": 0.5, "Uniform 12/min": 1.0, "Uniform 18/min": 1.5}
BUSY = "Skewed 24/min"
SIZES = ("256", "512", "1024", "2048")
ALONE = {f"{size} alone": {other: float(other == size) for other in SIZES} for size in SIZES}
BASES = (
    "the paper prints no step times and no step count: with ours, SLOs at 1.0x lie further from or nearer to what one "
    "request takes alone, and the pool is loaded otherwise; its own tables 3 and 5 give .42 and .63 for one setting"
)
TIES = (
    "our knapsack already breaks ties by GPU-seconds to come and gives ranks to whom it put off, so that less is left "
    "for the later mechanisms"
)
ONE = "at a low load little hangs on the length of a round, and a launch costs 1 ms here"
TWO = "rounds of two steps let arrivals in sooner than rounds of five, and the launches they add cost 1 ms each here"
COARSER = "long rounds cost little while the pool is seldom full: a request that arrives rarely finds it taken"


def _grains(setting: str) -> tuple[Claim, ...]:
    """Five steps a round beside the finest rounds and the coarse."""
    return (
        Claim(
            f"5 steps a round serve more than 1, {setting}",
            "5 best under load, 1 too much overhead",
            above(setting, "5 a round", "1 a round"),
            ONE,
        ),
        Claim(
            f"5 steps a round serve more than 10 and 15, {setting}",
            "5 best under load, 10 too coarse",
            above(setting, "5 a round", "10 a round", "15 a round"),
            COARSER,
        ),
    )


def _over(setting: str, reported: str, by: float) -> Claim:
    return Claim(
        f"Over the best fixed degree, {setting}", reported, above(setting, ABLATION[-1], *SP, by=by), BASES, BASES
    )


TETRISERVE = Paper(
    name="tetriserve",
    title="TetriServe (arXiv 2510.01565, ASPLOS'26)",
    setup="8 H100s, FLUX.1-dev, 28 steps (the paper prints no count), 12 requests a minute where nothing else is said; "
    "modelled step times.",
    settings=(
        Setting(UNIFORM, "tetriserve-uniform", TETRI),
        Setting(UNIFORM11, "tetriserve-uniform", OVER, slo=1.1),
        Setting(UNIFORM15, "tetriserve-uniform", TETRI, slo=1.5),
        Setting(SKEWED, "tetriserve-skewed", TETRI),
        Setting(SKEWED12, "tetriserve-skewed", OVER, slo=1.2),
        Setting(SKEWED15, "tetriserve-skewed", ABLATED, slo=1.5),
        *(Setting(name, "tetriserve-uniform", OVER, slo=1.5, shares=shares) for name, shares in ALONE.items()),
        *(Setting(name, "tetriserve-uniform", GRAINS, rate=rate) for name, rate in RATES.items()),
        Setting(BUSY, "tetriserve-skewed", GRAINS, rate=2.0),
    ),
    claims=(
        Claim("No fixed degree exceeds 0.6, Uniform 1.0x", "below 60%", at_most(UNIFORM, 0.6, *SP), BASES),
        _over(UNIFORM, "+10 on average", 0.10),
        _over(UNIFORM11, "+28", 0.28),
        _over(SKEWED, "+15 on average", 0.15),
        _over(SKEWED12, "+32", 0.32),
        Claim(
            "Over RSSP, Uniform 1.0x", "+10 (32% to 42%)", above(UNIFORM, "+ scale-up", "RSSP", by=0.10), BASES, BASES
        ),
        Claim("Over RSSP, Skewed 1.0x", "+15 (4% to 19%)", above(SKEWED, "+ scale-up", "RSSP", by=0.15), BASES, BASES),
        Claim("Ablation, Uniform 1.0x", "54% -> 56% -> 63%", rising(UNIFORM, *ABLATION, by=0.09), TIES),
        Claim(
            "Ablation, Uniform 1.5x: placement alone loses",
            "74% -> 69% -> 78%",
            above(UNIFORM15, "DP only", "+ placement", by=0.05),
            "placement changes next to nothing here: a move costs about a millisecond in these workloads",
        ),
        Claim("Ablation, Skewed 1.0x", "27% -> 31% -> 36%", rising(SKEWED, *ABLATION, by=0.09), TIES),
        Claim("Ablation, Skewed 1.5x", "38% -> 45% -> 55%", rising(SKEWED15, *ABLATION, by=0.17), TIES),
        Claim(
            "Near perfect at 1.5x, Uniform",
            "near 100% (figure 7), 78% (table 5)",
            at_least(UNIFORM15, "+ scale-up", 0.78),
            BASES,
        ),
        Claim(
            "One size only, 1.5x: not below the best fixed degree",
            "not below (no figures known)",
            nowhere_below(tuple(ALONE), "+ scale-up", *SP),
        ),
        *(claim for setting in (*RATES, BUSY) for claim in _grains(setting)),
        Claim(
            "2 steps a round serve nowhere more than 5",
            "5 best under load",
            nowhere_below((*RATES, BUSY), "5 a round", "2 a round"),
            TWO,
        ),
    ),
    missing="SD3 on four A40s, whose step times are not printed; Nirvana's cache of images (table 3), which is not "
    "simulated.",
)
