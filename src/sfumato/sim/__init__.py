"""The simulator: the same Serving as the live server, driven by a heap instead of workers and a clock."""

from sfumato.sim.heap import Simulation
from sfumato.sim.noise import Noise, steady

__all__ = ["Noise", "Simulation", "steady"]
