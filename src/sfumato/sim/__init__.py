"""The simulator: the same Serving as the live server, driven by a heap instead of workers and a clock."""

from sfumato.sim.heap import Simulation
from sfumato.sim.noise import Noise, lognormal, steady
from sfumato.sim.replay import Mismatch, Replay, replay

__all__ = ["Mismatch", "Noise", "Replay", "Simulation", "lognormal", "replay", "steady"]
