"""Measures what a model takes on the workers that will serve it, and writes the profile that the planner reads."""

from sfumato.profiling.bench import Bench
from sfumato.profiling.grid import GRIDS, Grid, Setting, grid
from sfumato.profiling.measure import Campaign, Step, hardware, measure, versions

__all__ = ["GRIDS", "Bench", "Campaign", "Grid", "Setting", "Step", "grid", "hardware", "measure", "versions"]
