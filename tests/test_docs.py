"""The documentation holds together: its links lead somewhere and its Python is Python."""

import ast
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    page
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
    if page.is_file()
]

FENCE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<mark>`{3,}|~{3,})[ \t]*(?P<language>[\w+-]*)[^\n]*\n"
    r"(?P<code>.*?)^[ \t]*(?P=mark)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
INLINE_CODE = re.compile(r"`[^`\n]*`")
LINKS = re.compile(
    r"\]\(\s*<?(?P<inline>[^)\s>]+)"  # [words](target) and ![words](target)
    r"|^\s*\[[^\]]+\]:\s*<?(?P<reference>[^\s>]+)"  # [words]: target
    r"|(?:src|href)=\"(?P<html>[^\"]+)\"",
    re.MULTILINE,
)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//")  # https:, mailto:, ...


def broken_links(page):
    """The relative links of a page that lead to no file."""
    prose = INLINE_CODE.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))
    targets = [match[match.lastgroup] for match in LINKS.finditer(prose)]
    paths = [target.partition("#")[0] for target in targets if not ELSEWHERE.match(target)]
    return [path for path in paths if path and not (page.parent / path).exists()]


def broken_python(page):
    """The Python blocks of a page that do not compile, as (line, message)."""
    text = page.read_text(encoding="utf-8")
    found = []
    for fence in FENCE.finditer(text):
        if fence["language"] != "python":
            continue
        try:
            ast.parse(textwrap.dedent(fence["code"]))
        except SyntaxError as error:
            first = text[: fence.start("code")].count("\n") + 1
            found.append((first + (error.lineno or 1) - 1, error.msg))
    return found


def name_of(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_file(page):
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_block_compiles(page):
    assert broken_python(page) == []


def test_a_dead_link_is_found_and_a_live_one_is_not(tmp_path):
    (tmp_path / "here.md").write_text("")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](here.md) [b](here.md#part) [c](gone.md) ![d](gone.png)\n"
        "[e](https://example.org) [f](#g)\n"
        "`[g](code.md)`\n\n```text\n[h](fenced.md)\n```\n\n[i]: gone.txt\n"
    )
    assert broken_links(page) == ["gone.md", "gone.png", "gone.txt"]


def test_a_block_that_does_not_compile_is_found_with_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n\n```python\nx = 1\ny = = 2\n```\n\n- item\n\n  ```python\n  z = 3\n  ```\n"
    )
    [(line, _)] = broken_python(page)
    assert line == 5
