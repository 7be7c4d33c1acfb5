"""Write docs/benchmarks.md from the result files: ``python docs/benchmarks_page.py``."""

from __future__ import annotations

from pathlib import Path

from stepaudio.evaluation.report_page import benchmarks_page

DOCS = Path(__file__).parent
PAGE = DOCS / "benchmarks.md"

if __name__ == "__main__":
    PAGE.write_text(benchmarks_page(DOCS / "results"), encoding="utf-8")
