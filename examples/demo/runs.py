"""One run of the load on a live server with one policy, and the story that the server's journal tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace
from rich.console import Console

from examples.demo.server import serving
from sfumato.cli.tally import watching
from sfumato.core.values import Value
from sfumato.report.journal import read
from sfumato.report.metrics import Metrics, measure
from sfumato.report.story import Life, Span, Story
from sfumato.workload.arrivals import Arrival
from sfumato.workload.play import Player, connect
from sfumato.workload.played import Played


class Run(Value, frozen=True, kw_only=True):
    """What came of it. The story holds the load alone, without warm-up, under short names (i07, v12)."""

    policy: str
    folder: Path
    played: tuple[Played, ...]
    story: Story
    metrics: Metrics

    @property
    def unanswered(self) -> int:
        """Requests without an outcome, and those that the demo itself gave up."""
        return sum(one.state is None or one.state == "cancelled" for one in self.played)


async def run_load(
    policy: str,
    arrivals: Sequence[Arrival],
    *,
    workers: int,
    profiles: Path,
    folder: Path,
    console: Console,
    keep: dict[str, list[Played]],
    paced: bool = False,
) -> None:
    """Serve, warm up, play, stop. Outputs, journal and what is in `keep` are there also when it is cut short."""
    server = serving(policy, workers=workers, profiles=profiles, folder=folder, paced=paced)
    async with server as url, connect(url) as client:
        await Player(client, warm_up(arrivals, workers)).run()
        with watching(policy, len(arrivals), console) as watch:
            player = Player(client, arrivals, watch=watch)
            keep[policy] = player.played
            try:
                await player.run()
            finally:
                write_outputs(player.played, folder)


def warm_up(arrivals: Sequence[Arrival], workers: int) -> list[Arrival]:
    """Best-effort requests of one step for every worker, a picture and a clip each: buffers and threads are made."""
    kinds = {arrival.shape.frames > 1: arrival for arrival in reversed(arrivals)}
    return [replace(one, at=0.0, steps=2, slo_s=None) for one in kinds.values() for _ in range(workers)]


def write_outputs(played: Sequence[Played], folder: Path) -> None:
    for one in played:
        if one.output:
            path = output_path(one, folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(one.output)


def output_path(played: Played, folder: Path) -> Path:
    video = played.modality == "video"
    return folder / ("videos" if video else "images") / f"{short_name(played)}.{'mp4' if video else 'png'}"


def short_name(played: Played) -> str:
    return f"{played.modality[0]}{played.number:02d}"


def told(policy: str, played: Sequence[Played], folder: Path) -> Run:
    """The run as its journal has it."""
    story = renamed(read(folder / "journal"), {one.id: short_name(one) for one in played if one.id})
    return Run(policy=policy, folder=folder, played=tuple(played), story=story, metrics=measure(story))


def renamed(story: Story, names: dict[str, str]) -> Story:
    """The part of a story that is about the requests in `names`, under their new names."""

    def span(one: Span) -> Span:
        gained = {names[job]: units for job, units in one.gained.items() if job in names}
        return replace(one, jobs=tuple(names[job] for job in one.jobs if job in names), gained=gained)

    def life(one: Life) -> Life:
        name = names[one.id]
        outcome = one.outcome and replace(one.outcome, request=name)
        spans = tuple(map(span, one.spans))
        return replace(one, request=replace(one.request, id=name), outcome=outcome, spans=spans)

    lives = {names[name]: life(one) for name, one in story.lives.items() if name in names}
    spans = tuple(span(one) for one in story.spans if any(job in names for job in one.jobs))
    start = min((one.request.arrived_at for one in lives.values()), default=story.start)
    return replace(story, start=start, lives=lives, spans=spans)
