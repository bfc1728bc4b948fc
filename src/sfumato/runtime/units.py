"""One unit of work for the jobs of a chunk, and what happens when memory does not suffice for it.

Rules: alone on its rank, a batch that does not fit is computed one by one from then on, and who does not even fit alone
fails with the reason while the others go on: a model that raises leaves its states usable. What the jobs of the rank
keep to save time is freed first. On a group the chunk ends: the other ranks wait in a collective that this one cannot
join any more.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

from sfumato.core.values import Stage
from sfumato.models.family import State
from sfumato.runtime.course import Course, Member
from sfumato.runtime.held import Held

_REASON = 200  # characters: allocators tell long stories
# what torch says in plain words on CPUs, and of memory that libraries of a GPU ask for past its allocator
_WORDS = ("DefaultCPUAllocator", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")


def compute(course: Course, held: Held, active: Sequence[Member]) -> None:
    """One unit for each of `active`; who runs out of memory alone leaves the chunk with an error."""
    if not course.apart:
        before = [member.done for member in active]
        try:
            _unit(course, held, active)
        except Exception as error:  # told apart by `exhausted`, raised again if it is not that
            if course.team is not None or not exhausted(error):
                raise
        else:
            return
        course.apart = True
        _make_room(course, held)
        active = [member for member, done in zip(active, before, strict=True) if member.done == done]
    for member in active:
        _alone(course, held, member)


def exhausted(error: BaseException) -> bool:
    """Whether an error says that memory ran out. torch has a class for its allocator of GPUs, else plain words."""
    words = any(word in str(error) for word in _WORDS)
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or words


def free_memory() -> None:
    """Give freed tensors back to the device: another part or job may need the room."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _alone(course: Course, held: Held, member: Member) -> None:
    reason = ""
    try:
        _unit(course, held, [member])
    except Exception as error:  # as above
        if not exhausted(error):
            raise
        reason = f"out of memory: {error}"[:_REASON]
    if reason:  # only now is the error gone, and with it the frames that hold tensors
        held.drop([member.job])
        member.fail(reason)
        _make_room(course, held)


def _make_room(course: Course, held: Held) -> None:
    held.shed()
    for state in _states(course.members):
        state.shed()
    free_memory()


def _unit(course: Course, held: Held, active: Sequence[Member]) -> None:
    model, carrier = course.model, course.team.carrier if course.team else None
    if course.run.stage is Stage.ENCODE:  # whole on every rank: it is over before its tensors had been sent
        tasks = [member.assignment.task for member in active if member.assignment.task is not None]
        for member, state in zip(active, model.encode(tasks), strict=True):
            member.state = state
    elif course.run.stage is Stage.DIFFUSE:
        model.step(_states(active), carrier, course.run.cfg)
    else:
        for member, state in zip(active, _states(active), strict=True):
            if model.decode(state, carrier):
                held.deliver(course, member)


def _states(members: Sequence[Member]) -> list[State]:
    return [member.state for member in members if member.state is not None]
