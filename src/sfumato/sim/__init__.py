"""The simulator: the same Serving as the live server, driven by a heap instead of workers and a clock."""

from sfumato.sim.heap import Simulation
from sfumato.sim.noise import DRIFT_S, Noise, Pace, drifting, even, lognormal, steady
from sfumato.sim.replay import Mismatch, Replay, replay

__all__ = [
    "DRIFT_S",
    "Mismatch",
    "Noise",
    "Pace",
    "Replay",
    "Simulation",
    "drifting",
    "even",
    "lognormal",
    "replay",
    "steady",
]
