"""`sfumato`: the project's own policy. See `decide` for its rules."""

from sfumato.policies.sfumato.decide import Sfumato

__all__ = ["Sfumato"]
