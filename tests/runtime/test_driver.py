from __future__ import annotations

import asyncio

from sfumato.assemble import Setup, build
from sfumato.core.commands import Order
from sfumato.core.events import Draining, Woke
from sfumato.core.journal import Entry, Record
from sfumato.core.policy import Plan
from sfumato.core.view import View
from sfumato.runtime.driver import Driver


class Early:
    """Wants to be woken half a second after the first event."""

    name = "early"
    work_conserving = False

    def plan(self, view: View) -> Plan:
        return Plan(memo=True) if view.memo else Plan(wake_at=view.now + 0.5, memo=True)


class Busy(asyncio.SelectorEventLoop):
    """A loop that can be told to have been held up."""

    held_up_s = 0.0

    def time(self) -> float:
        return super().time() + self.held_up_s


class Nobody:
    def execute(self, command: Order) -> None:
        raise AssertionError(f"nothing is to be done: {command}")


def test_a_wake_up_that_comes_late_is_no_step_back_in_time() -> None:
    entries: list[Entry] = []
    loop = Busy()

    async def scene() -> None:
        serving = build(Setup(models={}, policy=f"{__name__}:Early"), entries.append, strict=True)
        driver = Driver(serving, Nobody(), on_reply=lambda _: None)
        driver.post(Draining(at=loop.time()))
        await asyncio.sleep(0)
        loop.held_up_s = 2.0
        driver.post(Draining(at=loop.time()))  # is handled before the timer, which is due long since
        while not any(
            isinstance(event, Woke) for entry in entries if isinstance(entry, Record) for event in entry.events
        ):
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(asyncio.wait_for(scene(), 60))
