"""The page for those who come from KerasTuner: every row is held by a test that exists."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "coming_from_kerastuner.md"
HELD = ["What is the same", "What is better", "What differs, and why"]


def rows(heading):
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("|")][2:]


@pytest.mark.parametrize("heading", HELD)
def test_every_row_names_a_test_that_exists(heading):
    assert rows(heading)
    for row in rows(heading):
        named = re.findall(r"`([\w/]+\.py)::(\w+)` \|$", row)
        assert len(named) == 1, row
        file, name = named[0]
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, row


def test_no_row_is_said_twice():
    said = [row for heading in HELD for row in rows(heading)]
    assert len(said) == len(set(said))
