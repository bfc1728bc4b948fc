"""One tree of the components' own configs, read from TOML, with command-line flags on top. The only reader of the
environment (SFUMATO_CACHE: where `sfumato profile` keeps what it measured).

    [models]                      # name = folder, hub id, or an embedded sfumato/... model
    "flux" = "/models/FLUX.1-dev"

    [workers]                     # see runtime.crew.ClusterConfig
    count = 4                     # 0: the number of GPUs, else of cores

    [policy]
    name = "sfumato"              # or package.module:Class
    options = { quantum = 0.05 }

    [server]
    port = 8000
    max_waiting = 256
    journal = "journal"           # folder; left out: none is kept
    profiles = ["profiles/flux.json"]

    [api]                         # see api.config.ApiConfig
    default_slo_s = 10.0
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from sfumato.api.config import ApiConfig
from sfumato.core.values import Value
from sfumato.errors import ConfigError
from sfumato.runtime.crew import ClusterConfig

EMBEDDED = {"sfumato/tiny-image": "sfumato/tiny-image", "sfumato/tiny-video": "sfumato/tiny-video"}


class WorkersConfig(ClusterConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`count` workers, 0: the number of GPUs, else of cores; the rest is the cluster's."""

    count: int = 0
    device: str = "auto"


class PolicyConfig(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who plans."""

    name: str = "sfumato"
    options: dict[str, Any] = {}


class ServerConfig(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where it listens, how many may wait, what it writes and reads. `profiles` are files or folders."""

    host: str = "127.0.0.1"
    port: int = 8000
    max_waiting: int = 256
    journal: str | None = None
    profiles: tuple[str, ...] = ()


class Config(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a server needs."""

    models: dict[str, str] = msgspec.field(default_factory=lambda: dict(EMBEDDED))
    workers: WorkersConfig = WorkersConfig()
    policy: PolicyConfig = PolicyConfig()
    server: ServerConfig = ServerConfig()
    api: ApiConfig = ApiConfig()


def read_config(path: str | None, flags: dict[str, dict[str, Any]]) -> Config:
    """The file's tree with `flags` (table -> key -> value; None means not given) laid over it. Raises ConfigError."""
    tree: dict[str, Any] = _parsed(Path(path)) if path else {}
    for table, keys in flags.items():
        given = {key: value for key, value in keys.items() if value is not None}
        if given:
            tree[table] = {**tree.get(table, {}), **given}
    try:
        return msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        where = f"{path}: " if path else ""
        raise ConfigError(f"{where}{error}; see `sfumato serve --help` for what there is") from error


def profile_folder() -> Path:
    """Where measured profiles are kept and looked for: $SFUMATO_CACHE, else the user's cache folder."""
    home = os.environ.get("SFUMATO_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sfumato"
    return Path(home) / "profiles"


def gpu_count() -> int:
    """NVIDIA devices that workers may use: those of $CUDA_VISIBLE_DEVICES, else all in /dev (so without torch)."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in {"", "-1"}])
    return len([path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()])


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", field="config") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", field="config") from error
