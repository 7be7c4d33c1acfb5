"""Every Python block of README and documentation runs, in order, one namespace per page.

A block is left out only where the line above it says ``<!-- not run: REASON -->``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n+)?```python\n(?P<code>.*?)^```$", re.M | re.S
)
PAGES = [
    page
    for page in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
    if "```python" in page.read_text(encoding="utf-8")
]


def blocks(text: str) -> list[tuple[int, str, str | None]]:
    """First line, code and, if it is left out, the reason."""
    return [
        (text.count("\n", 0, match.start("code")), match["code"], match["reason"])
        for match in FENCE.finditer(text)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Pages are read from the root of a clone, where the bundled recordings are.
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    text = page.read_text(encoding="utf-8")
    found = blocks(text)
    assert len(found) == len(re.findall(r"^```python", text, re.M)), "a block is not closed"
    namespace: dict[str, object] = {"__name__": "page"}
    for line, code, reason in found:
        if reason is None:
            # Empty lines in front make line numbers of errors those of the page.
            exec(compile("\n" * line + code, str(page), "exec"), namespace)


def test_the_finder_sees_code_lines_and_reasons() -> None:
    text = (
        "a\n\n```python\nx = 1\n```\n\n<!-- not run: slow -->\n```python\ny\n```\n```bash\nz\n```\n"
    )
    assert blocks(text) == [(3, "x = 1\n", None), (8, "y\n", "slow")]


def test_there_are_pages_to_run() -> None:
    assert {page.name for page in PAGES} >= {"concepts.md", "quickstart.md", "swap-a-vocoder.md"}
