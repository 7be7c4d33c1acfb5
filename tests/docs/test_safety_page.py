"""docs/safety.md has the numbers of the measurement."""

from __future__ import annotations

from pathlib import Path

from stepaudio.safety.matching import measured

PAGE = (Path(__file__).parents[2] / "docs" / "safety.md").read_text(encoding="utf-8")


def test_table_and_thresholds_are_those_of_the_file() -> None:
    for row in measured()["slices"]:
        rates = [
            f"{row[name]:.1%}" for name in ("equal_error", "strangers_accepted", "speakers_refused")
        ]
        pairs = f"{row['same']:,}, {row['different']:,}"
        assert f"| {' | '.join([row['name'], pairs, *rates])} |" in PAGE
    for level, at in measured()["thresholds"].items():
        assert f"*{level}* ({at['score']})" in PAGE.lower()
    careful = measured()["thresholds"]["careful"]
    accepted, refused = careful["strangers_accepted"], careful["speakers_refused"]
    assert f"accepts {accepted:.0%} of strangers and refuses {refused:.0%}".replace(
        "%", " %"
    ) in " ".join(PAGE.split())
    assert f"measured on {measured()['speakers']} speakers" in PAGE
