from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from stepaudio.errors import MissingExtraError
from stepaudio.training.metrics import MetricsLog, draw_curves, read_metrics


def test_rows_come_back_and_a_line_cut_short_does_not(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    log.write({"step": 1, "loss": 0.5})
    log.write({"step": 2, "loss": 0.25})
    with log.path.open("a") as file:
        file.write('{"step": 3, "lo')
    assert read_metrics(log.path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]
    assert read_metrics(tmp_path / "missing.jsonl") == []


def test_a_log_goes_on_behind_the_steps_that_count(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step}) for step in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"st']))
    log = MetricsLog(tmp_path, 2)
    log.write({"step": 3, "loss": 1.0})
    assert read_metrics(log.path) == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 1.0}]


def test_curves_of_metrics_that_come_and_go(tmp_path: Path) -> None:
    draw_curves(
        [{"step": 1, "rate": 1.0}, {"step": 2, "loss": 0.5, "rate": 1.0}], tmp_path / "a.png"
    )
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    draw_curves([], tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


def test_without_tensorboard_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"stepaudio\[tensorboard\]"):
        MetricsLog(tmp_path, 0, tensorboard=True)


def test_event_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    log = MetricsLog(tmp_path, 0, tensorboard=True)
    log.write({"step": 1, "loss": 0.5, "seconds": 0.1})
    (events,) = (tmp_path / "tensorboard").iterdir()
    written = events.read_bytes()
    assert b"loss" in written
    assert b"seconds" not in written
