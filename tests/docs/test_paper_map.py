"""The paper map names only files that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_path_of_the_paper_map_exists() -> None:
    text = (ROOT / "docs" / "paper-map.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:stepaudio|tests)/[\w/]+\.py)`", text)
    assert len(paths) > 40
    assert not [path for path in sorted(set(paths)) if not (ROOT / path).is_file()]
