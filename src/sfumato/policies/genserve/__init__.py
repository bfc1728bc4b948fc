"""`genserve`: GenServe (arXiv 2604.04335). See `decide` for the reading."""

from sfumato.policies.genserve.decide import GenServe

__all__ = ["GenServe"]
