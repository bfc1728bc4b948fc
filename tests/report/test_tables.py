"""Tables say the same in every rendering."""

from io import StringIO

from rich.console import Console

from sfumato.report.journal import tell
from sfumato.report.metrics import measure
from sfumato.report.tables import Table, all_tables, number, request_table
from tests.report.runs import life, simulate, story


def test_a_table_renders_for_terminal_page_and_log():
    table = Table(title="T", columns=("name", "value"), rows=(("a|b", "1"), ("long name", "23")))
    assert table.markdown() == "**T**\n\n| name | value |\n| --- | ---: |\n| a\\|b | 1 |\n| long name | 23 |\n"
    assert table.plain() == "T\n  name       value\n  a|b            1\n  long name     23\n"
    out = StringIO()
    Console(file=out, width=60).print(table.rich())
    assert "long name" in out.getvalue()


def test_markup_in_a_name_is_text():
    out = StringIO()
    Console(file=out, width=60).print(Table(title="T", columns=("[bold]", "x"), rows=(("[red]", "1"),)).rich())
    assert "[red]" in out.getvalue()


def test_a_run_has_its_tables():
    tale = tell(simulate())
    text = "\n".join(table.plain() for table in all_tables(measure(tale)))
    for word in ("SLO attainment", "By class", "clip", "By modality", "video", "rank", "control gap"):
        assert word in text
    assert len(request_table(tale, limit=7).rows) == 7


def test_what_is_missing_is_a_dash():
    tables = all_tables(measure(story([life("a", 0, None)], end=4)))
    assert ("latency", "-") in tables[0].rows
    assert request_table(story([life("a", 0, None)], end=4)).rows[0][5:8] == ("-", "-", "-")
    assert [number(x) for x in (None, 123.4, 12.34, 1.234, 0.1234)] == ["-", "123", "12.3", "1.23", "0.123"]
