"""Every error that Sfumato raises on purpose.

SfumatoError
├── UserError            somebody can mend it: the message names the field and the fix
│   ├── ConfigError      a configuration file, flag or workload
│   ├── RequestError     a request that no server state could make valid (HTTP 4xx)
│   ├── CheckpointError  a model folder or hub id that cannot be served
│   └── ProfileError     a profile file that is missing, unreadable or lacks a model
├── OverloadedError      the queue is at its bound; try again after `retry_after_s`
├── LawError             a plan or an event broke a law; `law` names it (a bug, never the user's fault)
└── WorkerError          a worker could not start or stopped answering
"""

from __future__ import annotations


class SfumatoError(Exception):
    """Root of the tree."""


class UserError(SfumatoError):
    """Something that the person who asked can mend; `field` names what, the message says how."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ConfigError(UserError):
    """A configuration file, command-line flag or workload file is wrong."""


class RequestError(UserError):
    """A request is wrong whatever the server's state."""


class CheckpointError(UserError):
    """A model folder or hub id cannot be served."""


class ProfileError(UserError):
    """A profile file is missing, unreadable, or does not cover a model."""


class OverloadedError(SfumatoError):
    """More requests wait than the bound allows; try again after `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LawError(SfumatoError):
    """A law of the core was broken; `law` is its number in ARCHITECTURE.md, e.g. "L5"."""

    def __init__(self, law: str, message: str) -> None:
        super().__init__(f"{law}: {message}")
        self.law = law


class WorkerError(SfumatoError):
    """A worker process could not start or stopped answering."""
