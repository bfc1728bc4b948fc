"""What `sfumato simulate --plots` draws into a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from sfumato.cli.matches import Course
from sfumato.cli.trials import story_of
from sfumato.report.gantt import plot_gantt
from sfumato.report.plots import save
from sfumato.report.sweeps import Place, plot_latencies, plot_sweeps
from sfumato.workload.points import per_minute

SPAN_S = 60.0  # of a run, in the middle of it, that a Gantt chart shows at most


def draw_all(name: str, courses: Sequence[Course], folder: Path) -> list[str]:
    """Attainment over the axes that are swept; for the middle point, latencies and the last policy's Gantt chart."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {str(profile.kind) for course in courses for profile in course.trial.world.profiles}
    note = " (modelled times)" if "modelled" in kinds else ""
    figures = {f"attainment-{axis}.png": figure for axis, figure in plot_sweeps(_places(courses), name, note).items()}
    course = courses[len(courses) // 2]
    title = f"{name} {course.match.name}{note}".replace("  ", " ")
    latencies = {policy: [one[1] for ran in runs for one in ran.served] for policy, runs in course.runs.items()}
    figures["latency.png"] = plot_latencies(latencies, title=title)
    policy = list(course.runs)[-1]
    story = story_of(replace(course.trial, policy=policy))
    middle = (story.end - story.start) / 2
    figures["gantt.png"] = plot_gantt(story, since=middle, until=middle + SPAN_S, title=f"{title}: {policy}")
    for file, figure in figures.items():
        save(figure, folder / file)
    return list(figures)


def _places(courses: Sequence[Course]) -> list[Place]:
    return [
        Place(
            match=course.match,
            per_minute=per_minute(course.trial.workload) or course.trial.workload.rate_factor,
            slo=course.trial.workload.slo_factor,
            rest=repr([entry.share for entry in course.trial.workload.classes]),
        )
        for course in courses
    ]
