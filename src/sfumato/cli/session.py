"""A live engine for as long as a verb needs one; everything is ended in order, also on Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import click
import msgspec
from msgspec.structs import replace

from sfumato.assemble import Setup, live, nowhere
from sfumato.cli.checks import check_degree
from sfumato.config import Config, gpu_count, profile_folder, usable_cores
from sfumato.cost import read_profiles
from sfumato.models import Offer, describe
from sfumato.runtime.cluster import ProcessCluster
from sfumato.runtime.crew import ClusterConfig
from sfumato.runtime.engine import Engine
from sfumato.runtime.records import JournalFolder

FLUSH_S = 0.25


def offers_of(config: Config) -> dict[str, Offer]:
    """The offers of the configured models, by the name that requests use. Raises CheckpointError."""
    return {name: describe(source, name) for name, source in config.models.items()}


def setup_of(config: Config, offers: Mapping[str, Offer]) -> Setup:
    """What plans: the models' specs, the profiles that cover them, the policy."""
    sources = config.server.profiles or ((str(profile_folder()),) if profile_folder().is_dir() else ())
    profiles = tuple(profile for profile in read_profiles(*sources) if profile.model in offers)
    return Setup(
        models={name: offer.spec for name, offer in offers.items()},
        profiles=profiles,
        policy=config.policy.name,
        options=config.policy.options,
    )


def cluster_of(config: Config) -> tuple[ClusterConfig, int]:
    """The workers' config with `auto` settled, and their number: GPUs where there are some, else cores."""
    gpus = gpu_count()
    device = config.workers.device
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    count = config.workers.count or (gpus if device == "cuda" else usable_cores())
    fields = {name: getattr(config.workers, name) for name in ClusterConfig.__struct_fields__}
    return ClusterConfig(**{**fields, "device": device}), count


@asynccontextmanager
async def session(config: Config, *, quiet: bool = False) -> AsyncIterator[tuple[Engine, ProcessCluster]]:
    """Start the engine that `config` describes; stop it, its workers and its journal at the end."""
    offers = offers_of(config)
    setup = setup_of(config, offers)
    cluster_config, count = cluster_of(config)
    check_degree(setup.policy, setup.options, setup.models, count)
    loop = asyncio.get_running_loop()
    journal = JournalFolder(Path(config.server.journal)) if config.server.journal else None
    write = journal or nowhere
    engine, cluster = live(
        setup, offers, cluster_config, clock=loop.time, write=write, max_waiting=config.server.max_waiting
    )
    if not quiet:
        _announce(setup, count, cluster_config.device)
    flushing = loop.create_task(_flush(journal)) if journal else None
    try:
        await engine.start(count)
        yield engine, cluster
    finally:
        await engine.stop()
        if flushing:
            flushing.cancel()
        if journal:
            journal.close()


def _announce(setup: Setup, count: int, device: str) -> None:
    known = {profile.model for profile in setup.profiles}
    for name in setup.models:
        times = "profiled" if name in known else "estimated; `sfumato profile` measures them"
        click.echo(f"model {name} (step times {times})", err=True)
    click.echo(f"starting {count} {device} worker{'s' * (count > 1)}, policy {setup.policy}", err=True)


async def _flush(journal: JournalFolder) -> None:
    while True:
        await asyncio.sleep(FLUSH_S)
        journal.flush()


def with_server(config: Config, **changes: object) -> Config:
    """The config with keys of its [server] table changed."""
    return replace(
        config, server=msgspec.convert({**msgspec.structs.asdict(config.server), **changes}, type(config.server))
    )
