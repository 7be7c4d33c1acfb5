"""docs/benchmarks.md is what the result files say."""

from __future__ import annotations

from pathlib import Path

from stepaudio.evaluation.report_page import benchmarks_page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_generated_from_the_result_files() -> None:
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert page == benchmarks_page(DOCS / "results"), "run python docs/benchmarks_page.py"


def test_included_fragments_exist() -> None:
    for file in (DOCS / "results").glob("*.json"):
        page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
        if f"include}} results/{file.stem}.md" in page:
            assert file.with_suffix(".md").is_file()
