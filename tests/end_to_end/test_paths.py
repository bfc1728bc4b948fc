"""Law L13 on the live path: whatever happens to a request between its steps, its picture is the same, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sfumato.api.media import encode_image
from sfumato.assemble import rebuild
from sfumato.config import Config, PolicyConfig, ServerConfig, WorkersConfig
from sfumato.core.values import Shape
from sfumato.runtime.service import Ask
from sfumato.sim import replay

from .live import Live, live

STEPS = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    config = Config(
        workers=WorkersConfig(count=2, device="cpu"),
        policy=PolicyConfig(name="tests.end_to_end.policies:Wander"),
        server=ServerConfig(journal=str(tmp_path_factory.mktemp("paths") / "journal")),
    )
    with live(config) as running:
        yield running


def image(seed: int, *, priority: int = 0, side: int = 64) -> Ask:
    return Ask(
        model="sfumato/tiny-image",
        prompt="a big red circle on a yellow background",
        shape=Shape(height=side, width=64),
        steps=STEPS,
        guidance=3.0,
        seed=seed,
        priority=priority,
    )


def video(seed: int, *, priority: int = 0) -> Ask:
    return Ask(
        model="sfumato/tiny-video",
        prompt="a small blue square moves to the right",
        shape=Shape(height=64, width=64, frames=13),
        steps=STEPS // 2,
        guidance=3.0,
        seed=seed,
        priority=priority,
    )


def test_pauses_and_moves_among_strangers_do_not_change_a_picture(server: Live) -> None:
    alone = [server.pixels(server.submit(ask)) for ask in (image(7, priority=1), video(7, priority=1))]
    crowd = [image(7), video(7), image(8, side=96), image(9), video(10)]
    tickets = [server.submit(ask) for ask in crowd]
    among = [server.pixels(ticket) for ticket in tickets]

    story = server.story(*(ticket.id for ticket in tickets))
    for ticket, steps in zip(tickets[:2], (STEPS, STEPS // 2), strict=True):
        life = story.lives[ticket.id]
        assert len(life.pauses) >= steps
        assert life.moves >= 1
    assert encode_image(among[0], "png") == encode_image(alone[0], "png")
    assert (among[1] == alone[1]).all()
    assert (among[3] != alone[0]).any(), "another seed is another picture"


def test_the_journal_of_a_users_own_policy_replays(server: Live) -> None:
    server.idle()
    result = replay(server.entries(), rebuild)
    assert result.mismatch is None
    assert result.records > 0
