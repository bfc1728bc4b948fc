"""`tetriserve`: TetriServe (arXiv 2510.01565, ASPLOS'26). See `rounds` for the reading."""

from sfumato.policies.tetriserve.rounds import TetriServe

__all__ = ["TetriServe"]
