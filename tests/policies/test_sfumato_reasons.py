"""`explain`: why each launch was made, in the journal and in the report; nothing of it when it is off."""

from __future__ import annotations

from hypothesis import given
from msgspec.structs import asdict, replace

from sfumato.assemble import policy_named
from sfumato.core.commands import AnyCommand, Drop, Launch, Load
from sfumato.core.events import AnyEvent, Arrived, Cancelled, WorkerUp
from sfumato.core.journal import Checkpoint, Entry, Journal, Record, decode, encode
from sfumato.core.serving import Serving
from sfumato.core.values import Job, RankInfo, Shape, Stage
from sfumato.report.journal import tell
from sfumato.report.reasons import decision_table
from sfumato.report.trace import chrome_trace
from sfumato.sim import Simulation
from sfumato.sim.noise import lognormal
from tests.costs import MODELS, PARTS, PlainCosts
from tests.policies.small import image, run, video
from tests.policies.test_sfumato_memory import World
from tests.policies.test_sfumato_merge import Quick
from tests.worlds import scripts

LARGE_AND_SMALL = [image("large", 6.5, steps=20), image("small", 7.6, steps=12)]  # one rank has not time for both


def _serving(entries: list[Entry], *, explain: bool) -> Serving:
    return Serving(
        models=MODELS,
        costs=PlainCosts(),
        policy=policy_named("sfumato", {"explain": explain}),
        fallback=policy_named("fixed"),
        journal=Journal(entries.append),
        strict=True,
    )


def _entries(*, explain: bool) -> list[Entry]:
    entries: list[Entry] = []
    script: list[AnyEvent] = [WorkerUp(at=0.0, info=RankInfo(rank=rank), parts=PARTS) for rank in range(2)]
    for request in (image("tight", 1.6), image("late", 0.5), image("whenever", None)):
        script.append(Arrived(at=0.0, request=request))
    Simulation(_serving(entries, explain=explain), PlainCosts(), script).run()
    return entries


def test_every_launch_has_its_reason_in_the_journal() -> None:
    entries = list(decode(map(encode, _entries(explain=True))))
    records = [entry for entry in entries if isinstance(entry, Record)]
    launched = [command.chunk.jobs[0] for r in records for command in r.commands if isinstance(command, Launch)]
    reasons = [reason for record in records for reason in record.reasons if reason.degree]
    assert [reason.job for reason in reasons] == launched
    tight = next(reason for reason in reasons if reason.job == "tight")
    assert tight.standing == "kept"
    assert tight.slack_s is not None
    assert tight.slack_s > 0
    assert {reason.standing for reason in reasons} == {"kept", "late", "best effort"}


def test_the_same_is_planned_and_nothing_is_told_when_it_is_off() -> None:
    told, silent = _entries(explain=True), _entries(explain=False)
    commands = [[entry.commands for entry in entries if isinstance(entry, Record)] for entries in (told, silent)]
    assert commands[0] == commands[1]
    assert all(not entry.reasons for entry in silent if isinstance(entry, Record))
    assert b"reasons" not in b"".join(encode(entry) for entry in silent if isinstance(entry, Record))


def test_a_story_tells_why_each_chunk_was_launched() -> None:
    story = tell(_entries(explain=True))
    assert all(span.reason is not None for span in story.spans)
    assert story.lives["late"].spans[-1].reason is not None
    assert story.lives["late"].spans[-1].reason.standing == "late"
    assert all(span.reason is None for span in tell(_entries(explain=False)).spans)


def test_what_a_request_was_lowered_to_is_told_also_where_the_journal_begins_later() -> None:
    request = replace(image("a", 1.8), degradable=True)
    whole = run("sfumato", 1, request, admission="degrade").entries
    said = "lowered to 224x224, 8 steps"
    assert decision_table(tell(whole)).rows[1][2] == said
    job = Job(request=request, shape=Shape(height=224, width=224), steps=8)
    later = Checkpoint(**{**asdict(whole[0]), "jobs": (job,)})
    assert decision_table(tell([later])).rows[1][2] == said


def _turns(entries: list[Entry], job: str) -> list[tuple[str, str]]:
    """Standings and why, as they changed."""
    return [(reason.standing, reason.why) for _, reason in tell(entries).lives[job].turns]


def test_who_is_given_up_is_told_once_and_that_it_can_no_longer_be_met() -> None:
    entries = run("sfumato", 1, *(image(f"r{n}", 2.1 + n / 8) for n in range(3)), explain=True).entries
    given_up, late = _turns(entries, "r1")
    assert given_up == ("given up", "too much waits: 4.17 GPU-s for 2.11 that are there until its deadline")
    assert late[0] == "late"
    assert late[1].startswith("can no longer be met: fastest 2.09 s, ")
    assert _turns(entries, "r2") == []


def test_it_is_told_whose_deadline_is_too_much() -> None:
    entries = run("sfumato", 1, *LARGE_AND_SMALL, explain=True).entries
    said = "too much waits: 8.19 GPU-s for 7.22 that are there until that of small"
    assert _turns(entries, "large")[0] == ("given up", said)


def test_who_is_kept_again_is_told() -> None:
    cancelled = Cancelled(at=0.5, request="small")
    world = World([(4_000, PARTS)], LARGE_AND_SMALL, PlainCosts(), [cancelled], explain=True)
    given_up, again = _turns(world.entries, "large")
    assert given_up[0] == "given up"
    assert again == ("kept", "kept again")


def test_who_would_make_a_smaller_one_late_on_all_ranks_is_told_so() -> None:
    smaller = [image(f"i{n}", 1.4, at=n / 4, steps=4) for n in range(8)]
    entries = run("sfumato", 4, video("v", 4.2), *smaller, explain=True).entries
    assert _turns(entries, "v")[0] == ("given up", "needs all ranks: a smaller one would be late beside it")


def test_who_could_not_be_met_from_the_start_is_told_so_and_who_has_no_deadline_is_not() -> None:
    entries = _entries(explain=True)
    assert _turns(entries, "late") == [("late", "cannot be met: fastest 1.42 s, 0.50 s left")]
    assert _turns(entries, "whenever") == []


def test_late_work_whose_steps_are_all_long_says_that_it_is_at_its_fastest() -> None:
    entries = run("sfumato", 4, image("late", 0.1, at=0.1), image("a", 2.5), image("b", 2.5), explain=True).entries
    steps = [span for span in tell(entries).lives["late"].spans if span.stage is Stage.DIFFUSE]
    assert {(span.reason.why, len(span.group)) for span in steps if span.reason} == {("late, at its fastest", 4)}


@given(script=scripts())
def test_what_is_told_decides_nothing(script: list[AnyEvent]) -> None:
    plain, told = (_commands(script, explain=explain) for explain in (False, True))
    assert plain == told


def _commands(script: list[AnyEvent], *, explain: bool) -> list[tuple[AnyCommand, ...]]:
    entries: list[Entry] = []
    served = _serving(entries, explain=explain)
    Simulation(served, PlainCosts(), script, lognormal(7, 0.1)).run()
    assert explain or not (served.checkpoint().memo or {}).get("told")
    return [entry.commands for entry in entries if isinstance(entry, Record)]


def test_a_pause_is_told_with_those_who_took_its_ranks() -> None:
    found = run("sfumato", 1, image("long", 60.0, steps=40), image("short", 1.5, at=2.0, steps=4), explain=True)
    rows = decision_table(tell(found.entries), ["long"]).rows
    (paused,) = [row for row in rows if row[2].startswith("paused")]
    assert paused[3:6] == ("0", "behind kept", "its ranks go to short")


def test_the_trace_shows_why_beside_each_chunk() -> None:
    chunks = [event for event in chrome_trace(tell(_entries(explain=True)))["traceEvents"] if event["ph"] == "X"]
    assert {event["args"]["why"]["standing"] for event in chunks} == {"kept", "late", "best effort"}


def test_a_story_tells_why_weights_were_loaded_and_what_made_room() -> None:
    video_only, bare = ("text", "dit-v", "vae-v"), ()
    world = World(
        [(2_400, video_only), (4_000, bare)], [image(f"r{n}", 60.0) for n in range(8)], PlainCosts(), explain=True
    )
    swaps = [swap for _, swap in tell(world.entries).swaps]
    assert sorted(part for swap in swaps for part in swap.loads) == sorted(load.part for load in world.commands(Load))
    assert sorted(part for swap in swaps for part in swap.drops) == sorted(drop.part for drop in world.commands(Drop))
    assert any("dit-v" in swap.drops and "those dropped are wanted for 0 s" in swap.why for swap in swaps)
    assert all("image has" in swap.why for swap in swaps)


def test_what_a_rank_goes_on_with_has_the_reason_of_what_came_before() -> None:
    story = tell(World([(4_000, PARTS)], [image("a", 60.0, steps=40)], Quick(), explain=True).entries)
    assert "goes on by itself" in {span.reason.why for span in story.spans if span.reason}
    assert all(span.reason is not None for span in story.spans)
