"""``stepaudio eval`` with a tiny model: what it makes, measures, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import debug_parts as debug
import pytest
from command_line import ok, refused, told
from eval_fakes import VOICES, YesJudge, write_benchmark, write_lines

from stepaudio import EditPipeline
from stepaudio.evaluation import registry

HAPPY = YesJudge(("happy", "sad"), floor=-2.0)
FAST = ["--metrics", "prosody", "--steps", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    pipe = EditPipeline(debug.debug_parts(), defaults=debug.DEFAULTS)
    return str(pipe.save_pretrained(tmp_path_factory.mktemp("model") / "debug"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_benchmark(tmp_path / "bench")
    for number, voice in enumerate(VOICES):
        path = tmp_path / "bench" / "prompt_audios" / f"{voice}.wav"
        debug.speech(seed=number).save(path, force=True)
    return tmp_path


def test_benchmark(model: str, here: Path) -> None:
    arguments = ["eval", "benchmark", "bench", "-o", "out", "--model", model, *FAST]
    arguments += ["--langs", "en", "--limit", "1", "--iterations", "1"]
    arguments += ["--tasks", "emotion,paralinguistic"]
    arguments += ["--judge", f"emotion=python:{__name__}:HAPPY"]
    for part in ("1/2", "2/2"):
        said = told(*arguments, "--shard", part)
        assert said["written"] == []
    assert said["finished"] == said["items"] == 6
    said = told(*arguments)
    assert said["finished"] == 6
    assert said["failed"] == 0
    assert "judge of paralinguistic" in said["missing"]
    assert said["tasks"]["emotion"]["all"]["iter1"]["corrected"]["value"] == 1.0
    assert sorted(Path(path).name for path in said["written"]) == [
        "items.jsonl",
        "report.json",
        "report.md",
        "success.svg",
        "trade-off.svg",
    ]
    report: dict[str, Any] = json.loads(Path("out/report.json").read_text("utf-8"))
    assert report["config"]["model"].startswith("debug (")
    assert report["config"]["settings"]["steps"] == 1
    assert len(Path("out/items.jsonl").read_text("utf-8").splitlines()) == 6
    assert "exists" in refused(*arguments)
    assert "6 of 6 items in out, 0 failed" in ok(*arguments, "--force")
    changed = refused(*arguments, "--force", "--seed", "1")
    assert "another configuration" in changed
    assert "seed was 0 and is now 1" in changed


def test_benchmark_of_recordings(model: str, here: Path) -> None:
    debug.speech().save("a.wav")
    line = {"path": "a.wav", "text": "see you tomorrow", "speaker": "Ann"}
    write_lines(here / "m.jsonl", [line, {"path": "a.wav", "lang": "zh"}])
    said = told(
        *("eval", "benchmark", "m.jsonl", "-o", "out", "--model", model, *FAST),
        *("--edit", "emotion:happy", "--edit", "denoise", "--langs", "en", "--iterations", "1"),
        *("--judge", f"emotion=python:{__name__}:HAPPY"),
    )
    assert said["items"] == 6
    steps = said["tasks"]["emotion"]["all"]
    assert list(steps) == ["iter0", "resynth", "iter1"]
    assert [steps[step]["corrected"]["value"] for step in steps] == [1.0] * 3
    assert steps["iter1"]["gains"]["resynth"]["by_label"]["happy"]["value"] == 0.0
    assert "| happy | resynth | **100** |" in Path("out/report.md").read_text("utf-8")
    ratio = steps["iter0"]["metrics"]["prosody.duration_ratio"]["value"]
    assert ratio == pytest.approx(1.0)


def test_files(here: Path) -> None:
    debug.speech().save("sounds/a.wav")
    debug.speech(seed=1).save("sounds/b.flac")
    said = told("eval", "files", "sounds", "-o", "out", "--metrics", "prosody,silence")
    assert said["rows"] == 2
    assert said["missing"] == {}
    metrics = said["tasks"][""]["all"]["recording"]["metrics"]
    assert metrics["prosody.seconds"]["value"] == pytest.approx(1.2, abs=0.01)
    page = Path("out/report.md").read_text("utf-8")
    assert page.startswith("# Recordings")
    assert "exists" in refused("eval", "files", "sounds", "-o", "out", "--metrics", "none")
    line = ok("eval", "files", "sounds", "-o", "out", "--metrics", "none", "--force")
    assert line == "2 recordings measured, report in out\n"


def test_files_with_labels_and_a_judge(here: Path) -> None:
    debug.speech().save("a.wav")
    lines = [
        {"path": "a.wav", "task": "emotion", "label": label, "id": label, "speaker": "Ann"}
        for label in ("happy", "sad", "angry")
    ]
    write_lines(here / "m.jsonl", lines)
    said = told(
        *("eval", "files", "m.jsonl", "-o", "out", "--metrics", "none"),
        *("--judge", f"emotion=python:{__name__}:HAPPY"),
    )
    cell = said["tasks"]["emotion"]["all"]["recording"]
    assert cell["corrected"]["value"] == 1.0
    assert cell["off_list"] == 1


def test_joins_are_measured_where_they_are(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "METRICS", {})
    debug.speech().save("a.wav")
    lines = [{"path": "a.wav", "joins": [0.4, 0.8]}, {"path": "a.wav", "joins": [0.6]}]
    write_lines(here / "m.jsonl", [*lines, {"path": "a.wav"}])

    def joins() -> tuple[list[float], float]:
        said = told("eval", "files", "m.jsonl", "-o", "out", "--force")
        rows = [
            json.loads(line) for line in Path("out/items.jsonl").read_text("utf-8").split("\n")[:3]
        ]
        mean = said["tasks"][""]["all"]["recording"]["metrics"]["boundary.spectral_max"]["value"]
        return [row["values"]["boundary.joins"] for row in rows], mean

    counts, before = joins()
    assert counts == [2, 1, 0]
    assert before > 0
    # Other joins of the same sounds are measured anew.
    write_lines(
        here / "m.jsonl", [{**line, "joins": [0.2]} for line in lines] + [{"path": "a.wav"}]
    )
    assert joins()[0] == [1, 1, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shard", "3/2"], "there is no part 3/2"),
        (["--shard", "x/2"], "is not like 1/4"),
        (["--shard", "2"], "has no '/' in it"),
        (["--judge", "emotion"], "has no '=' in it"),
        (["--judge-price", "1,x"], "is not two numbers"),
        (["--edit", "emotion:happy"], "says what to do itself"),
        (["--iterations", "0"], "--iterations"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    said = refused(
        "eval", "benchmark", "bench", "-o", "out", "--metrics", "none", *arguments, code=2
    )
    assert message in said
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["benchmark", "nowhere", "-o", "out"], "does not exist"),
        (["benchmark", "bench", "-o", "out", "--tasks", "speed"], "no row has the task 'speed'"),
        (["benchmark", "bench", "-o", "out", "--metrics", "wer"], "unknown metric 'wer'"),
        (["benchmark", "bench", "-o", "bench", "--metrics", "none"], "is not empty"),
        (["benchmark", "bench", "-o", "out", "--judge", "emotion=x:y"], "expected one of rules"),
        (["benchmark", "bench", "-o", "out", "--model", "no/where/at/all"], "no/where/at/all"),
        (["files", "bench/emotion.jsonl", "-o", "out"], "emotion.jsonl:1: 'path' must name"),
    ],
)
def test_refusals(here: Path, arguments: list[str], message: str) -> None:
    before = {path for path in here.rglob("*") if path.is_file()}
    extra = [] if "--metrics" in arguments else ["--metrics", "none"]
    assert message in refused("eval", *arguments, *extra)
    assert {path for path in here.rglob("*") if path.is_file()} == before
