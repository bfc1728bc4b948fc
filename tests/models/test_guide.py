"""The guide to a new model family shows code that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "add-a-model-family.md"
BLOCKS = re.findall(r"<!-- (\S+) -->\n```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(("file", "block"), BLOCKS)
def test_a_block_of_the_guide_is_cut_out_of_the_file_that_it_names(file: str, block: str) -> None:
    assert block in (ROOT / file).read_text(encoding="utf-8")


def test_all_blocks_are_compared() -> None:
    assert len(BLOCKS) == GUIDE.read_text(encoding="utf-8").count("```python") > 5
