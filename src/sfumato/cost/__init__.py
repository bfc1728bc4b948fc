"""What work takes, in seconds and bytes: profile files, interpolation, estimates, correction.

The planner asks through `core.cost.Costs`; `ProfileCosts` is the one implementation.
"""

from sfumato.cost.costs import ProfileCosts
from sfumato.cost.profile import Point, Profile, read_profile, read_profiles, write_profile
from sfumato.cost.spec import spec_of

__all__ = ["Point", "Profile", "ProfileCosts", "read_profile", "read_profiles", "spec_of", "write_profile"]
