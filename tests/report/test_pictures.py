"""Charts and sheets are drawn, of the size that was asked for, and say what they must."""

import numpy as np
import pytest
from PIL import Image

from sfumato.core.events import WorkerLost
from sfumato.core.values import JobState
from sfumato.report.colours import FAINT
from sfumato.report.contact import Picture, draw_contact_sheet, draw_filmstrips, pick_frames, write_animation
from sfumato.report.gantt import plot_gantt
from sfumato.report.journal import tell
from sfumato.report.lanes import lanes_of
from sfumato.report.plots import Point, plot_attainment, plot_latency, plot_queue, save
from tests.report.runs import life, simulate, span, story, workload

PIXELS = np.full((1, 96, 64, 3), (200, 30, 40), np.uint8)
CLIP = np.stack([np.full((32, 32, 3), shade, np.uint8) for shade in range(0, 90, 10)])


def saved(figure, tmp_path):
    save(figure, tmp_path / "figure.png", dpi=50)
    image = Image.open(tmp_path / "figure.png").convert("RGB")
    assert image.size == tuple(round(side * 50) for side in figure.get_size_inches())
    assert len(image.getcolors(1 << 20)) > 20
    return image


def test_a_gantt_chart_has_a_row_a_rank_and_a_mark_a_missed_deadline(tmp_path):
    lost = [WorkerLost(at=20.0, rank=0)]
    tale = tell(simulate(load=workload(20, 0.8), extra=lost))
    figure = plot_gantt(tale)
    saved(figure, tmp_path)
    axes = figure.axes[0]
    ticks = [tick.get_text() for tick in axes.get_yticklabels()]
    assert ticks == ["deadlines", "rank 0", "rank 1", "rank 2", "rank 3", "waiting"]
    missed = sum(one.met(tale.end) is False for one in tale.lives.values())
    assert sum(line.get_marker() == "x" for line in axes.lines) == missed > 0


def waits(figure):
    """(from, to, y, whether it is thick) of each line below the only rank or ranks, coloured as a request."""
    found = []
    for line in figure.axes[0].lines:
        (start, *_, end), y = map(float, line.get_xdata()), float(line.get_ydata()[0])
        if y > 0 and line.get_color() != FAINT:
            found.append((start, end, y, line.get_linewidth() > 2))
    return found


def test_who_waits_has_a_lane_below_the_ranks_thin_until_it_starts_and_thick_in_a_pause():
    first = (span(1, (0,), "a", 0, 2), span(2, (1,), "a", 5, 6))
    late = (span(3, (0,), "b", 3, 4),)
    tale = story([life("a", 0, 6, spans=first, frames=9), life("b", 1, 4, spans=late)], first + late, end=6)
    (paused, queued) = waits(plot_gantt(tale))
    assert paused[:2] == (2.0, 5.0)
    assert queued[:2] == (1.0, 3.0)
    assert (paused[3], queued[3]) == (True, False)
    assert 1.5 < paused[2] < queued[2]


def test_a_lane_is_shared_by_those_who_do_not_overlap():
    lives = [
        life(name, at, at + 2, spans=(span(seq, (0,), name, at + 1, at + 2),))
        for seq, (name, at) in enumerate([("a", 0), ("b", 1), ("c", 2)])
    ]
    assert lanes_of(lives, 0, 4, 4) == {"a": 0, "b": 1, "c": 0}
    assert lanes_of(lives, 2.5, 4, 4) == {"c": 0}
    assert lanes_of(lives, 0, 1e6, 4) == {}  # too short to be seen


def test_a_long_story_is_drawn_in_part_and_says_so(monkeypatch):
    monkeypatch.setattr("sfumato.report.gantt._MOST", 3)
    spans = tuple(span(seq, (0,), f"r{seq}", seq, seq + 1) for seq in range(6))
    axes = plot_gantt(story([life(f"r{n}", n, n + 1, spans=spans) for n in range(6)], spans, end=6)).axes[0]
    assert axes.get_xlim() == (0.0, 3.0)
    assert axes.get_title(loc="left").endswith("(part shown)")


def test_charts_of_an_empty_story_are_empty_not_errors(tmp_path):
    empty = tell([])
    for figure in (plot_gantt(empty), plot_queue(empty), plot_latency({}), plot_attainment({})):
        save(figure, tmp_path / "figure.png", dpi=40)


def test_latencies_queue_and_attainment_are_drawn(tmp_path):
    tale = tell(simulate(policy="srtf"))
    groups = {"image": [one for one in tale.lives.values() if one.request.model == "image"]}
    figure = plot_latency(groups)
    saved(figure, tmp_path)
    saved(plot_queue(tale), tmp_path)
    points = [Point(x=x, y=1 / x, low=0.9 / x, high=min(1, 1.1 / x)) for x in (1, 2, 4)]
    saved(plot_attainment({"edf": points, "sfumato": [Point(x=1, y=1), Point(x=4, y=0.8)]}), tmp_path)


def test_what_a_picture_rests_on_stands_above_it_and_takes_nothing_from_it(tmp_path):
    empty = tell([])
    plain, noted = plot_queue(empty), plot_queue(empty)
    save(plain, tmp_path / "plain.png", dpi=40)
    said = "planned by fixed on times of flux: modelled on h100 (costs $1 to $2; " + "a long source, " * 20 + ")"
    save(noted, tmp_path / "noted.png", dpi=40, note=said)
    assert noted.get_suptitle().split() == said.split()
    assert noted.get_suptitle().count("\n") > 1
    heights = [figure.axes[0].get_window_extent().height / figure.dpi for figure in (plain, noted)]
    assert abs(heights[1] - heights[0]) < 0.1


def test_a_latency_line_ends_below_one_where_requests_were_not_delivered():
    lives = [life("a", 0, 2), life("b", 0, 0, JobState.REJECTED, deadline=5)]
    line = plot_latency({"all": lives}).axes[0].lines[0]
    assert list(line.get_ydata()) == [0.0, 0.5]


def test_a_contact_sheet_has_a_cell_a_picture_and_marks_what_missed(tmp_path):
    pictures = [Picture(pixels=PIXELS, caption=("a red square", "1.2 s of 4 s"), ok=ok) for ok in (True, False, None)]
    sheet = draw_contact_sheet(pictures, columns=2, cell=200, title="three")
    assert sheet.width == 2 * 200 + 3 * 14
    colours = {colour for _, colour in sheet.getcolors(1 << 20)}
    assert {(200, 30, 40), (46, 125, 50), (198, 40, 40)} <= colours
    one = draw_contact_sheet(pictures[2:], columns=2, cell=200)
    assert (198, 40, 40) not in {colour for _, colour in one.getcolors(1 << 20)}


def test_small_pictures_grow_by_one_whole_factor_and_large_ones_fit():
    small = Picture(pixels=np.full((1, 30, 30, 3), (10, 200, 40), np.uint8))
    sheet = draw_contact_sheet([Picture(pixels=PIXELS), small], cell=200)
    count = {colour: number for number, colour in sheet.getcolors(1 << 20)}
    assert (count[200, 30, 40], count[10, 200, 40]) == (4 * 96 * 64, 4 * 30 * 30)
    large = Picture(pixels=np.zeros((1, 500, 1000, 3), np.uint8))
    assert draw_contact_sheet([large], cell=200).width == 200 + 28


def test_filmstrips_show_the_first_and_the_last_frame():
    assert [int(frame[0, 0, 0]) for frame in pick_frames(CLIP, 4)] == [0, 30, 50, 80]
    assert len(pick_frames(CLIP[:2], 5)) == 2
    strip = draw_filmstrips([Picture(pixels=CLIP, caption=("a grey clip",), ok=True)], frames=4, height=64)
    assert {(0, 0, 0), (80, 80, 80)} <= {colour for _, colour in strip.getcolors(1 << 20)}


@pytest.mark.parametrize("name", ["clip.webp", "clip.gif"])
def test_animations_keep_their_frames_and_pace(tmp_path, name):
    write_animation(CLIP, tmp_path / name, fps=10, scale=2)
    with Image.open(tmp_path / name) as image:
        assert (image.n_frames, image.size) == (9, (64, 64))
        image.seek(3)
        assert image.convert("RGB").getpixel((5, 5)) == (30, 30, 30)
        assert image.info["duration"] == 100


def test_wrong_pixels_and_endings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="uint8"):
        draw_contact_sheet([Picture(pixels=PIXELS.astype(np.float32))])
    with pytest.raises(ValueError, match=r"\.webp or \.gif"):
        write_animation(CLIP, tmp_path / "clip.mp4", fps=8)
