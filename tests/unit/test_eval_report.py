"""What a run leaves behind."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest
import torch
from eval_fakes import FakeSystem, LoudnessMetric, YesJudge, write_benchmark

import stepaudio
from stepaudio.errors import OutputExistsError
from stepaudio.evaluation.benchmark_data import read_benchmark
from stepaudio.evaluation.confusion import Confusion
from stepaudio.evaluation.edit_benchmark import RunConfig, Store, steps_of
from stepaudio.evaluation.measuring import Instrument, Instruments, measure_items
from stepaudio.evaluation.report import (
    build_report,
    check_free,
    environment,
    item_lines,
    write_report,
)
from stepaudio.evaluation.report_page import benchmarks_page, markdown
from stepaudio.evaluation.scoring import JointRule
from stepaudio.evaluation.workers import run_benchmark

RULE = JointRule(0.2, 0.3, errors=("similar.error",), similarity=("similar.similarity",))


class Similar(LoudnessMetric):
    """An error rate and a similarity for joint success."""

    name = "similar"

    def measure(self, samples: Any) -> Any:
        return [{"error": 0.1, "similarity": 0.9} for _ in samples]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("run")
    rows = read_benchmark(write_benchmark(folder / "benchmark"))
    config = RunConfig("fake (01)", iterations=2, seed=3)
    system = FakeSystem(fails="Who")
    run_benchmark(rows, lambda: system, str(folder / "out"), config)
    store = Store(folder / "out")
    found = [store.read(row.id, step) for row in rows for step in steps_of(row, config)]
    items = [item for item in found if item is not None]
    judge = YesJudge(("happy", "sad", "natural"))
    judge.confusion = Confusion(("happy", "sad"), ((3, 1), (0, 4)), ("p", "q"), "by hand")  # type: ignore[attr-defined]
    instruments = Instruments(
        [Instrument(LoudnessMetric()), Instrument(Similar())],
        {"emotion": judge, "paralinguistic": YesJudge(("1", "2", "3"), yes="3")},
        {"dnsmos": "DNSMOS needs the package speechmos"},
    )
    scored = measure_items(rows, items, store, instruments)
    report = build_report("edit benchmark", scored, instruments, store.config(), rule=RULE, seed=4)
    return report, item_lines(rows, items, scored, rule=RULE)


def test_everything_needed_to_repeat_or_doubt_a_number(run: Any) -> None:
    report, _ = run
    assert report["environment"]["stepaudio"] == stepaudio.__version__
    assert {"torch", "python", "cores", "threads"} <= set(report["environment"])
    assert report["config"]["model"] == "fake (01)"
    assert (report["config"]["seed"], report["bootstrap"]["seed"]) == (3, 4)
    assert report["metrics"]["loud:ness"] == {"name": "fake/loudness", "version": "1"}
    assert report["judges"]["emotion"]["labels"] == ["happy", "sad", "natural"]
    assert report["judges"]["emotion"]["confusion"]["protocol"] == "by hand"
    assert report["missing"] == {"dnsmos": "DNSMOS needs the package speechmos"}
    assert report["joint"] == {
        "word_margin": 0.2,
        "similarity_margin": 0.3,
        "sound_score": 3,
        "errors": ("similar.error",),
        "similarity": ("similar.similarity",),
        "baseline": "iter0",
    }


def test_the_environment_tells_what_computes_and_not_on_whose_machine() -> None:
    told = environment()
    assert {key: told[key] for key in ("system", "machine", "cpu")} == {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
    assert platform.platform() not in told.values()


def test_numbers(run: Any) -> None:
    report, _ = run
    steps = report["tasks"]["emotion"]["all"]
    assert list(steps) == ["iter0", "iter1", "iter2"]
    # Half of the English rows fail, and everything but iteration 0 is loud enough.
    assert [steps[s]["corrected"]["value"] for s in steps] == [0.0, 0.75, 0.75]
    assert [steps[s]["upstream"]["value"] for s in steps] == [None, 1.0, 1.0]
    assert [steps[s]["failed"] for s in steps] == [4, 4, 4]
    assert steps["iter1"]["joint"]["value"] == 0.75
    assert report["tasks"]["emotion"]["en"]["iter1"]["corrected"]["value"] == 0.5
    assert report["tasks"]["paralinguistic"]["all"]["iter1"]["corrected"]["value"] == 3.0
    assert "corrected" not in report["tasks"]["style"]["all"]["iter1"]


def test_lines_tell_every_item(run: Any) -> None:
    report, lines = run
    assert len(lines) == report["items"]
    line = next(one for one in lines if one["task"] == "emotion" and one["step"] == "iter1")
    assert line["published_id"] == "happy-167-0"
    assert line["outcome"] == {
        "changed": True,
        "words_kept": True,
        "speaker_kept": True,
        "success": True,
    }
    assert line["values"]["similar.similarity"] == 0.9


def test_the_page(run: Any) -> None:
    report, _ = run
    page = markdown(report)
    assert page.startswith("# Edit benchmark\n\n**Model**: fake (01). 32 rows, moving prompt")
    assert "| | Iter0 | Iter1 | Iter2 |" in page
    assert "## emotion\n" in page
    assert "## emotion, zh\n" in page
    assert "| **accuracy, %** | 0.0 (0.0 to 0.0) | 75.0 (50.0 to 100.0) |" in page
    assert "| as upstream counts (rows kept) | – (0) | 100.0 (12) | 100.0 (12) |" in page
    assert "**score, 1 to 3**" in page
    assert "- dnsmos: **missing** (DNSMOS needs the package speechmos)" in page
    assert "error rate ≤ iter0 + 0.20" in page
    assert "| happy | 75 | 25 | 4 |" in page
    assert markdown(report, level=3).startswith("### Edit benchmark")


def test_files_are_written_once_unless_forced(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    report, lines = run
    written = write_report(tmp_path / "r", report, lines)
    assert sorted(path.name for path in written) == [
        "items.jsonl",
        "report.json",
        "report.md",
        "success.svg",
        "trade-off.svg",
    ]
    assert json.loads((tmp_path / "r" / "report.json").read_text("utf-8")) == json.loads(
        json.dumps(report)
    )
    before = {path: path.read_bytes() for path in written}
    with pytest.raises(OutputExistsError):
        write_report(tmp_path / "r", report, [])
    assert {path: path.read_bytes() for path in written} == before
    write_report(tmp_path / "r", report, [], force=True)
    assert (tmp_path / "r" / "items.jsonl").read_bytes() == b""
    # The same report gives the same pictures.
    assert (tmp_path / "r" / "success.svg").read_bytes() == before[tmp_path / "r" / "success.svg"]
    text = (tmp_path / "r" / "success.svg").read_text("utf-8")
    assert "paralinguistic" in text
    assert "style" not in text.split("</defs>")[-1].replace("style=", "")
    assert "similar.similarity" in (tmp_path / "r" / "trade-off.svg").read_text("utf-8")


def test_one_file_in_the_way_is_enough(tmp_path: Path) -> None:
    check_free(tmp_path, force=False)
    (tmp_path / "items.jsonl").touch()
    with pytest.raises(OutputExistsError, match=r"items\.jsonl exists"):
        check_free(tmp_path, force=False)
    check_free(tmp_path, force=True)


def test_a_page_of_all_results(run: Any, tmp_path: Path) -> None:
    report, _ = run
    results = tmp_path / "results"
    results.mkdir()
    (results / "b.json").write_text(json.dumps(report), encoding="utf-8")
    (results / "a.json").write_text(json.dumps({"clips": 8}), encoding="utf-8")
    page = benchmarks_page(results)
    assert page.index("## a\n\n```{include} results/a.md\n```\n") < page.index("## b\n")
    assert "### Edit benchmark" in page
