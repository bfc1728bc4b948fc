"""`tridentserve`: TridentServe (arXiv 2510.02838). See `decide` for the reading."""

from sfumato.policies.tridentserve.decide import TridentServe

__all__ = ["TridentServe"]
