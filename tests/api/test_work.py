"""An answer that several clients wait for."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from sfumato.api.work import Work
from tests.api.service import asynchronous


class Client:
    """A connection that stays open until it is closed."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.listening = asyncio.Event()

    def request(self) -> Request:
        return Request({"type": "http", "method": "POST", "headers": []}, self._receive)

    async def _receive(self) -> dict[str, str]:
        self.listening.set()
        await self.left.wait()
        return {"type": "http.disconnect"}


@asynchronous
async def test_work_goes_on_while_one_of_its_clients_stays() -> None:
    finish, answer = asyncio.Event(), Response("drawn")

    async def make() -> Response:
        await finish.wait()
        return answer

    work, first, second = Work(make()), Client(), Client()
    answers = [asyncio.create_task(work.answer(client.request())) for client in (first, second)]
    await second.listening.wait()
    first.left.set()
    assert (await answers[0]).status_code == 499
    assert not work.given_up
    finish.set()
    assert await answers[1] is answer


@asynchronous
async def test_work_is_given_up_when_the_last_client_leaves() -> None:
    ended = asyncio.Event()

    async def make() -> Response:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return Response()

    work, client = Work(make()), Client()
    waiting = asyncio.create_task(work.answer(client.request()))
    await client.listening.wait()
    client.left.set()
    await waiting
    assert work.given_up
    await ended.wait()


@asynchronous
async def test_a_server_that_stops_gives_its_work_up() -> None:
    work, client = Work(asyncio.sleep(60, Response())), Client()
    waiting = asyncio.create_task(work.answer(client.request()))
    await client.listening.wait()
    waiting.cancel()
    await asyncio.gather(waiting, work.task, return_exceptions=True)
    assert work.task.cancelled()
