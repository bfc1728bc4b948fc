"""The demo's page: the two runs side by side, who ran where, and every video and image with what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from examples.demo.results import Compared, table
from examples.demo.runs import Run, output_path, short_name
from sfumato.report.metrics import Summary
from sfumato.report.tables import Table, number, percent
from sfumato.workload.played import Played

STYLE = Path(__file__).with_name("page.css")
SCALE = 1.5  # of an image's pixels on the page


def took(run: Run, place: int) -> str:
    """How long a request took under a policy, or how it ended."""
    one = run.played[place]
    if one.latency_s is None:
        return f"{run.policy} {one.state.value if one.state else 'open'}"
    return f"{run.policy} {number(one.latency_s)} s{'' if one.met in (True, None) else ', late'}"


def page(compared: Sequence[Compared], kind: str) -> str:
    """The page as HTML; its pictures lie beside it."""
    runs = [one.run for one in compared]
    shown = runs[-1]
    videos = [one for one in shown.played if one.output and one.modality == "video"]
    images = [one for one in shown.played if one.output and one.modality == "image"]
    charts = "".join(f'<p class="wide">{_linked(f"gantt-{run.policy}.png")}</p>' for run in runs)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sfumato: the demo</title><style>
{STYLE.read_text(encoding="utf-8")}</style></head><body>
<h1>Sfumato: the demo</h1>
<p>The same {len(images)} images and {len(videos)} videos, each with a deadline, asked for at the same times of a {kind}
with {len(shown.story.rank_numbers)} ranks: once for each policy.</p>
<div class="cards">{"".join(_card(one, ours=one is compared[-1]) for one in compared)}</div>
<div class="wide">{_html_table(table(compared, kind))}</div>
<p>Simulated: the same planner and the measured profile, without a model and without a clock.</p>
<h2>Who ran where</h2>
<p>A colour is a request. Above the ranks the deadlines, below them who waits: thin lines have not started, thick ones
are paused to let something more urgent through.</p>
{charts}
<h2>How long it took</h2>
<p class="wide"><img src="latency.png" alt="Shares delivered within so many seconds" style="width: 46rem"></p>
<h2>Videos</h2><p>As {shown.policy} served them.</p>
<div class="grid">{"".join(_video(one, runs) for one in videos)}</div>
<h2>Images</h2><p>As {shown.policy} served them.</p>
<div class="grid">{"".join(_image(one, runs) for one in images)}</div>
<footer>Beside this page: <a href="contact.png">contact sheet</a>, <a href="filmstrips.png">filmstrips</a>,
<a href="results.json">all figures</a>, <a href="load.jsonl">the load</a>, and each run's journal, for
<code>sfumato report</code> and <code>sfumato replay</code>.</footer>
</body></html>
"""


def _card(one: Compared, *, ours: bool) -> str:
    metrics = one.run.metrics
    parts = ((name, metrics.by_modality.get(name)) for name in ("image", "video"))
    lines = "".join(f"<br>{name}s {percent(part.attainment)}, {_seconds(part)}" for name, part in parts if part)
    whole = metrics.overall
    return (
        f'<div class="card{" ours" if ours else ""}">policy {escape(one.run.policy)}'
        f"<b>{percent(whole.attainment)}</b><span>{whole.met} of {whole.judged} in time{lines}</span></div>"
    )


def _seconds(part: Summary) -> str:
    return "none delivered" if part.latency is None else f"p95 {number(part.latency.p95)} s"


def _html_table(found: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in found.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in found.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _linked(name: str) -> str:
    return f'<a href="{name}"><img src="{name}" alt="{name.partition(".")[0]}"></a>'


def _video(one: Played, runs: Sequence[Run]) -> str:
    attributes = f'src="{_source(one, runs)}" {_size(one)} controls loop muted autoplay playsinline'
    return _figure(one, runs, f"<video {attributes}></video>")


def _image(one: Played, runs: Sequence[Run]) -> str:
    return _figure(one, runs, f'<img src="{_source(one, runs)}" {_size(one)} loading="lazy" alt="">')


def _source(one: Played, runs: Sequence[Run]) -> str:
    return output_path(one, Path(runs[-1].folder.name)).as_posix()


def _size(one: Played) -> str:
    shape = one.arrival.shape
    return f'width="{round(SCALE * shape.width)}" height="{round(SCALE * shape.height)}"'


def _figure(one: Played, runs: Sequence[Run], shown: str) -> str:
    asked = f"{short_name(one)}, {one.arrival.shape}, due in {one.arrival.slo_s or 0:.1f} s"
    ends = "<br>".join(_end(run, one.number) for run in runs)
    caption = f"<b>{escape(one.arrival.prompt)}</b><br>{asked}<br>{ends}"
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def _end(run: Run, place: int) -> str:
    kind = "late" if run.played[place].met is False else "met"
    return f'<span class="{kind}">{escape(took(run, place))}</span>'
