"""What an operator may set of the HTTP service: the default SLO, and the bounds on what it keeps in memory."""

from __future__ import annotations

from sfumato.core.values import Value
from sfumato.errors import ConfigError


class ApiConfig(Value, frozen=True, kw_only=True):
    """`default_slo_s` is what a request without an SLO gets, None: best effort. `refusal_s` is how long the answer to a
    new video with an SLO is held back, so that a refusal at admission is its status and not a later surprise.
    """

    default_slo_s: float | None = None
    body_bytes: int = 1 << 20
    image_files: int = 1000
    image_bytes: int = 256 << 20
    image_ttl_s: float = 3600.0
    videos: int = 1000
    video_bytes: int = 256 << 20
    video_ttl_s: float = 86400.0
    keyed_replies: int = 1000
    keyed_bytes: int = 64 << 20
    keyed_ttl_s: float = 86400.0
    refusal_s: float = 0.05

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            least = 0 if field == "refusal_s" else None
            if value is not None and not (value > 0 or value == least):
                raise ConfigError(f"{field}: {value} is not possible; give a number above 0", field=field)
