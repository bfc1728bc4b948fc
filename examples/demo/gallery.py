"""The pictures that the demo leaves: contact sheet, filmstrips, Gantt charts, latencies, and the page of all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image

from examples.demo.page import page, took
from examples.demo.results import LIVE, Compared
from examples.demo.runs import Run, short_name
from sfumato.report.contact import Picture, Pixels, draw_contact_sheet, draw_filmstrips
from sfumato.report.gantt import plot_gantt
from sfumato.report.plots import plot_latency, save
from sfumato.report.story import Life
from sfumato.workload.played import Played


def draw_all(compared: Sequence[Compared], folder: Path, kind: str = LIVE) -> None:
    """Everything into `folder`; the outputs shown are those of the last run."""
    runs = [one.run for one in compared]
    _draw_sheets(runs, folder)
    horizon = max(_length_s(run) for run in runs)
    for run in runs:
        save(plot_gantt(run.story, until=horizon, title=_gantt_title(run)), folder / f"gantt-{run.policy}.png")
    groups: dict[str, list[Life]] = {}
    for run in runs:
        for life in run.story.lives.values():
            made = "videos" if life.request.shape.frames > 1 else "images"
            groups.setdefault(f"{run.policy}, {made}", []).append(life)
    save(plot_latency(groups), folder / "latency.png")
    (folder / "index.html").write_text(page(compared, kind), encoding="utf-8")


def _draw_sheets(runs: Sequence[Run], folder: Path) -> None:
    """At twice their size, as they are small."""
    shown = runs[-1]
    images = [one for one in shown.played if one.output and one.modality == "image"]
    videos = [one for one in shown.played if one.output and one.modality == "video"]
    titles = f"served by the policy {shown.policy}; tick: in time, cross: late"
    if images:
        cells = [Picture(pixels=_image(one.output), caption=_caption(one, runs), ok=one.met) for one in images]
        sheet = draw_contact_sheet(cells, columns=7, cell=320, font_size=15, title=f"Images {titles}")
        sheet.save(folder / "contact.png")
    if videos:
        cells = [Picture(pixels=_clip(one.output), caption=_caption(one, runs), ok=one.met) for one in videos]
        strips = draw_filmstrips(cells, frames=5, height=256, columns=2, font_size=15, title=f"Videos {titles}")
        strips.save(folder / "filmstrips.png")


def _caption(one: Played, runs: Sequence[Run]) -> tuple[str, ...]:
    """The prompt, then what was asked and how long it took under each policy."""
    asked = f"{short_name(one)}, {one.arrival.shape}, due in {one.arrival.slo_s or 0:.1f} s"
    return one.arrival.prompt, asked, ";  ".join(took(run, one.number) for run in runs)


def _gantt_title(run: Run) -> str:
    whole = run.metrics.overall
    return f"policy {run.policy}: {whole.met} of {whole.judged} in time"


def _length_s(run: Run) -> float:
    ends = [life.outcome.at for life in run.story.lives.values() if life.outcome]
    return max(ends, default=run.story.start) - run.story.start


def _image(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[None]


def _clip(data: bytes) -> Pixels:
    with av.open(io.BytesIO(data)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
