"""The pictures that the demo leaves: contact sheet, filmstrips, Gantt charts, and one page that shows everything."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import av
import numpy as np
from PIL import Image

from examples.demo.results import LIVE, Compared, table
from examples.demo.runs import Run, output_path, short_name
from sfumato.report.contact import Picture, Pixels, draw_contact_sheet, draw_filmstrips
from sfumato.report.gantt import plot_gantt
from sfumato.report.plots import plot_latency, save
from sfumato.report.story import Life
from sfumato.report.tables import Table, number
from sfumato.workload.played import Played

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22303c; max-width: 1200px; margin: 2rem auto; padding: 0 1rem }
img { max-width: 100%; height: auto } h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem }
table { border-collapse: collapse; display: block; overflow-x: auto } th, td { padding: .3rem .7rem; text-align: right }
th { border-bottom: 2px solid #c9d1d8 } td { border-bottom: 1px solid #e6eaed; white-space: nowrap }
th:first-child, td:first-child { text-align: left } tr:nth-child(odd) td { font-weight: 600 }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 1.2rem }
video { width: 100%; image-rendering: pixelated; background: #e6eaed } figure { margin: 0 }
figcaption, .note { color: #5b6873; font-size: 13px } .late { color: #c62828 }
"""


def draw_all(compared: Sequence[Compared], folder: Path, kind: str = LIVE) -> None:
    """Everything into `folder`; the outputs shown are those of the last run."""
    runs = [one.run for one in compared]
    _draw_sheets(runs, folder)
    horizon = max(_length_s(run) for run in runs)
    for run in runs:
        figure = plot_gantt(run.story, until=horizon, title=_gantt_title(run))
        save(figure, folder / f"gantt-{run.policy}.png")
    groups: dict[str, list[Life]] = {}
    for run in runs:
        for life in run.story.lives.values():
            kind = "videos" if life.request.shape.frames > 1 else "images"
            groups.setdefault(f"{run.policy}, {kind}", []).append(life)
    save(plot_latency(groups), folder / "latency.png")
    (folder / "index.html").write_text(_page(compared, kind), encoding="utf-8")


def _draw_sheets(runs: Sequence[Run], folder: Path) -> None:
    shown = runs[-1]
    images = [one for one in shown.played if one.output and one.modality == "image"]
    videos = [one for one in shown.played if one.output and one.modality == "video"]
    titles = f"served by the policy {shown.policy}; tick: in time, cross: late"
    if images:
        cells = [Picture(pixels=_image(one.output), caption=_caption(one, runs), ok=one.met) for one in images]
        draw_contact_sheet(cells, columns=5, cell=320, font_size=15, title=f"Images {titles}").save(
            folder / "contact.png"
        )
    if videos:
        cells = [Picture(pixels=_clip(one.output), caption=_caption(one, runs), ok=one.met) for one in videos]
        draw_filmstrips(cells, frames=7, height=200, font_size=15, title=f"Videos {titles}").save(
            folder / "filmstrips.png"
        )


def _caption(one: Played, runs: Sequence[Run]) -> tuple[str, ...]:
    """The prompt, then what was asked and how long it took under each policy."""
    took = ";  ".join(f"{run.policy} {_took(run.played[one.number])}" for run in runs)
    return one.arrival.prompt, f"{short_name(one)}, {one.arrival.shape}, due in {one.arrival.slo_s or 0:.1f} s", took


def _took(one: Played) -> str:
    if one.latency_s is None:
        return one.state.value if one.state else "open"
    return f"{number(one.latency_s)} s{'' if one.met in (True, None) else ', late'}"


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


# -- the page ---------------------------------------------------------------------------------------------------------


def _page(compared: Sequence[Compared], kind: str) -> str:
    runs = [one.run for one in compared]
    shown = runs[-1]
    charts = "".join(
        f'<p><img src="gantt-{run.policy}.png" alt="Gantt chart, policy {run.policy}"></p>' for run in runs
    )
    clips = "".join(_figure(one, runs) for one in shown.played if one.output and one.modality == "video")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sfumato: the demo</title><style>{STYLE}</style></head><body>
<h1>Sfumato: the demo</h1>
<p class="note">The same {len(shown.played)} requests, sent at the same times to a {kind}, once with each policy.
Simulated rows: the same planner and the measured profile, without a model or a clock.</p>
{_html_table(table(compared, kind))}
<h2>Who ran where</h2>
<p class="note">A colour is a request; a thin line joins its chunks across a pause.</p>
{charts}
<p><img src="latency.png" alt="Latency" style="max-width: 46rem"></p>
<h2>Videos</h2><div class="clips">{clips}</div>
<p><img src="filmstrips.png" alt="Filmstrips"></p>
<h2>Images</h2><p><img src="contact.png" alt="Contact sheet"></p>
</body></html>
"""


def _html_table(found: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in found.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in found.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _figure(one: Played, runs: Sequence[Run]) -> str:
    shown = runs[-1]
    source = output_path(one, Path(shown.folder.name)).as_posix()
    prompt, *lines = _caption(one, runs)
    notes = "<br>".join(f'<span class="{"late" if "late" in line else ""}">{escape(line)}</span>' for line in lines)
    return (
        f'<figure><video src="{source}" controls loop muted autoplay playsinline></video>'
        f"<figcaption><b>{escape(prompt)}</b><br>{notes}</figcaption></figure>"
    )
