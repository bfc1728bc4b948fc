"""`sfumato serve`."""

from __future__ import annotations

import asyncio
from typing import Any

import click
from msgspec.structs import replace

from sfumato.api.app import bind, create_app, create_server
from sfumato.assemble import explains
from sfumato.cli.options import config_of, serving_options
from sfumato.cli.session import session
from sfumato.config import Config
from sfumato.errors import ConfigError


@click.command("serve", epilog="Try it: curl -s localhost:8000/v1/models")
@serving_options
@click.option("--host", help="Address to listen on. Default: 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on, 0: any free one. Default: 8000.")
@click.option("--max-waiting", type=click.IntRange(min=1), help="Waiting requests before 429. Default: 256.")
@click.option("--default-slo-ms", type=float, help="SLO of requests that name none. Default: none, best effort.")
@click.option("--paced", is_flag=True, help="Workers that only keep the profile's times and draw placeholders.")
@click.option("--explain", is_flag=True, help="Journal why each chunk is launched, for `sfumato report`.")
def command(*, default_slo_ms: float | None, paced: bool, explain: bool, **given: Any) -> None:
    """Serve diffusion models behind the API that OpenAI's clients speak.

    POST /v1/images/generations, /v1/videos, GET /v1/models, /health, /metrics. A request may carry `slo_ms`; the
    planner spends the least GPU time on each that still meets its deadline, and pauses work at step boundaries for
    what is more urgent.
    """
    config = config_of(**given)
    if default_slo_ms is not None:
        config = replace(config, api=replace(config.api, default_slo_s=default_slo_ms / 1000))
    if paced:
        config = replace(config, workers=replace(config.workers, kind="paced"))
    if explain:
        config = explained(config)
    asyncio.run(serve(config))


def explained(config: Config) -> Config:
    """With a policy that tells its reasons. Raises ConfigError where it has none to tell, or nowhere to tell them."""
    policy = config.policy
    if not explains(policy.name):
        raise ConfigError(f"--explain: policy {policy.name} tells no reasons; use sfumato", field="explain")
    if config.server.journal is None:
        raise ConfigError("--explain: reasons are kept in the journal; name its folder with --journal", field="explain")
    return replace(config, policy=replace(policy, options={**policy.options, "explain": True}))


async def serve(config: Config) -> None:
    """Serve until SIGINT or SIGTERM. The port is taken before workers start, which may take minutes."""
    with bind(config.server.host, config.server.port) as bound:
        async with session(config) as (engine, _):
            host, port = bound.getsockname()[:2]
            words = f"serving on http://{f'[{host}]' if ':' in host else host}:{port}"
            app = create_app(engine, config=config.api)
            server = create_server(app, log_level="warning", on_start=lambda: click.echo(words, err=True))
            await server.serve(sockets=[bound])
