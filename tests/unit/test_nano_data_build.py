"""All stages of the data on a tiny corpus with stand-ins for engines: order, stops, manifest."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recipes.nano.data import __main__ as command
from recipes.nano.data import build as stages_module
from recipes.nano.data.corpus import Utterance, read_manifest, write_audio
from recipes.nano.data.features import KINDS, Features, build
from recipes.nano.data.joint import joined_rows, licences_page, summary, summary_page
from recipes.nano.data.journal import Journal, made_rows
from recipes.nano.data.noise import noisy_one
from recipes.nano.data.stages import run_stages
from recipes.nano.data.symbols import UNKNOWN_PHONE

Array = NDArray[np.float32]
RATE = 16000


def voice(seconds: float, f0: float = 120.0) -> Array:
    t = np.arange(int(seconds * RATE)) / RATE
    partials = [np.sin(2 * np.pi * f0 * k * t) / k for k in range(1, 6)]
    sound: Array = (0.3 * np.sum(partials, axis=0)).astype(np.float32)
    return sound


def corpus(folder: Path) -> Path:
    rows: list[dict[str, object]] = []
    for n in range(4):
        write_audio(folder / f"c_{n}.flac", voice(2.0, 100 + 20 * n), RATE)
        rows.append({"id": f"c_{n}", "text": f"one two {n}", "speaker": f"s{n % 2}", "lang": "en"})
    for n, emotion in enumerate(("neutral", "happy")):
        write_audio(folder / f"e_{n}.flac", voice(1.5, 130 + 40 * n), RATE)
        acted = {"emotion": emotion, "text_id": "t", "lang": "de", "text": "ein Satz"}
        rows.append({"id": f"e_{n}", "speaker": "actor", **acted})
    write_audio(folder / "rain.flac", voice(0.5, 333.0), RATE)
    rows.append({"id": "rain_1", "speaker": "", "lang": None, "text": None})
    manifest = folder / "manifest.jsonl"
    named = [r | {"path": f"{r['id']}.flac", "licence": "CC0-1.0", "train_ok": True} for r in rows]
    named[-1]["path"] = "rain.flac"
    manifest.write_text("\n".join(map(json.dumps, named)), encoding="utf-8")
    (folder / "LICENCES.md").write_text("| c | CC0-1.0 | nobody |", encoding="utf-8")
    return manifest


class Rendered:
    """Stands in for WORLD: a change makes the recording shorter and softer."""

    def __init__(self, samples: Array) -> None:
        self.samples = samples

    def render(self, change: object) -> Array:
        return 0.5 * self.samples[:: round(getattr(change, "rate", 1.0) + 0.4)]


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    def synthesize_one(
        item: tuple[int, str], out: Path, edits: float, seed: int
    ) -> list[Utterance]:
        key = f"syn{item[0]:05d}"
        write_audio(out / f"{key}.flac", voice(1.0), RATE)
        labels = {"phones": [[3, 0.5], [4, 0.5]], "words": [[item[1], 2]]}
        return [
            Utterance(
                key, str(out / f"{key}.flac"), key, item[1], "en", labels,
                licence="Apache-2.0", made="engine", engine="fake",
            )
        ]  # fmt: skip

    synthesize = types.ModuleType("recipes.nano.data.synthesize")
    synthesize.synthesize_one = synthesize_one  # type: ignore[attr-defined]
    synthesize.sentences = lambda texts, count, rng: ["one two"] * 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "recipes.nano.data.synthesize", synthesize)

    def align(folder: Path, out: Path, minutes: float, machine: object) -> None:
        from recipes.nano.data.corpus import write_manifest

        rows = Features(folder).rows
        assert set(rows[0]["spans"]) == {"fbank", "target"}
        found = [
            Utterance(**{k: v for k, v in row.items() if k != "spans"})
            for row in rows
            if row["lang"] == "en" and not row["id"].startswith("syn")
        ]
        for row in found[:2]:
            row.__dict__["labels"] = {
                "phones": [[3, 1.0], [4, 1.0]],
                "words": [["one", 1], ["two", 1]],
            }
        write_manifest(out / "manifest.jsonl", found)

    aligner = types.ModuleType("recipes.nano.data.align")
    aligner.align = align  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "recipes.nano.data.align", aligner)
    monkeypatch.setattr("recipes.nano.data.transform.Analysed", Rendered)
    monkeypatch.setattr(
        "recipes.nano.data.nonverbal.spectral_envelope",
        lambda samples, f0: np.zeros((len(f0), 513), np.float32),
    )
    monkeypatch.setattr(
        "recipes.nano.data.kokoro.kokoro", lambda lang: lambda text, name, speed: voice(1.3)
    )


def make(manifest: Path, out: Path, *more: str) -> None:
    command.main(
        [str(manifest), "-o", str(out), "--hours", "0.03", "--workers", "1", "--heard", "0", *more]
    )


def test_the_command_makes_everything_once_and_goes_on_where_it_was_stopped(
    tmp_path: Path,
    engines: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = corpus(tmp_path)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    make(manifest, whole)
    rows = {row.id: row for row in read_manifest(whole / "manifest.jsonl")}
    assert {"c_0", "e_1", "rain_1", "syn00000", "kokoro-zh00000"} <= set(rows)
    changes = {row.change.partition(":")[0] for row in rows.values()}
    assert {"none", "noisy", "paused", "paralinguistic"} < changes
    assert (rows["e_1"].change, rows["e_1"].source, rows["e_1"].made) == (
        "emotion:happy",
        "e_0",
        "human",
    )
    assert not any(r.source == "e_1" and ":" in r.change and r.made == "rule" and not
                   r.change.startswith("paralinguistic") for r in rows.values())  # fmt: skip
    assert all(row.licence for row in rows.values())
    told = json.loads((whole / "summary.json").read_text(encoding="utf-8"))
    assert told["rows"] == len(rows)
    assert told["by"]["language"]["de"]["rows"] >= 2
    licences = (whole / "LICENCES.md").read_text(encoding="utf-8")
    assert "| fake | Apache-2.0 | spoken |" in licences
    assert "nobody" in licences
    features = Features(whole / "features")
    assert {row["id"] for row in features.rows} == {r.id for r in rows.values() if r.text}

    calls = []

    def failing(source: Utterance, **settings: object) -> list[Utterance]:
        calls.append(source.id)
        if len(calls) == 3:
            raise OSError("the disk is full")
        return noisy_one(source, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(stages_module, "noisy_one", failing)
    with pytest.raises(RuntimeError, match=r"noise stopped at .*: the disk is full"):
        make(manifest, stopped)
    assert not (stopped / "manifest.jsonl").exists()
    capsys.readouterr()
    make(manifest, stopped)
    assert "aligned: finished before" in capsys.readouterr().out
    # What was finished when it stopped is not made again.
    assert all(calls.count(key) == 1 for key in calls[:2])
    assert (stopped / "manifest.jsonl").read_bytes() == (whole / "manifest.jsonl").read_bytes()
    for kind in KINDS:
        name = f"features/{kind}.f16"
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()
    with pytest.raises(ValueError, match=r"was begun with hours 0\.03"):
        make(manifest, whole, "--hours", "0.06")
    with pytest.raises(SystemExit):
        make(manifest, whole, "--until", "nothing")


def test_a_stage_that_stopped_is_made_again_and_the_ones_before_are_not(tmp_path: Path) -> None:
    made: list[str] = []

    def stage(name: str) -> object:
        def run(folder: Path) -> None:
            assert folder == tmp_path / name
            made.append(name)
            if made.count("b") == 1 and name == "b":
                raise OSError("stopped")

        return run

    stages = {name: stage(name) for name in "abc"}
    with pytest.raises(OSError, match="stopped"):
        run_stages(stages, tmp_path, {"seed": 0}, lambda line: None)  # type: ignore[arg-type]
    said: list[str] = []
    run_stages(stages, tmp_path, {"seed": 0}, said.append)  # type: ignore[arg-type]
    assert made == ["a", "b", "b", "c"]
    assert said[0] == "a: finished before"
    with pytest.raises(ValueError, match="begun with seed 0; give"):
        run_stages(stages, tmp_path, {"seed": 1}, said.append)  # type: ignore[arg-type]


def test_rows_of_finished_items_come_from_the_journal(tmp_path: Path) -> None:
    def work(key: str) -> list[Utterance]:
        if key == "b" and not Path(tmp_path / "go").exists():
            raise ValueError("broken")
        return [Utterance(key, "", "s", "x")]

    items = {"a": "a", "b": "b"}
    with pytest.raises(RuntimeError, match="letters stopped at b: broken"):
        made_rows(Journal(tmp_path / "j"), items, work, 1, "letters")
    (tmp_path / "go").touch()
    assert set(Journal(tmp_path / "j").done) == {"a"}
    rows = made_rows(Journal(tmp_path / "j"), items, work, 1, "letters")
    assert [row.id for row in rows] == ["a", "b"]


def spoken(folder: Path, count: int) -> list[Utterance]:
    rows = []
    for n in range(count):
        path = folder / f"{n}.flac"
        write_audio(path, voice(0.6 + 0.1 * n, 100.0 + 30 * n), RATE)
        labels = {"phones": [(3, 0.3), (0, 0.3)]} if n == 0 else None
        rows.append(Utterance(str(n), str(path), "s", "x", labels=labels))
    return rows


def test_features_that_were_stopped_end_as_if_they_had_not_been(tmp_path: Path) -> None:
    rows = spoken(tmp_path, 4)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    build(rows, whole, 1)
    build(rows[:2], stopped, 1)
    # Killed in the middle of a recording: values without a line, and half a line.
    with (stopped / "mel.f16").open("ab") as file:
        file.write(b"12345")
    with (stopped / "index.jsonl").open("a") as file:
        file.write('{"id": "2", "spa')
    build(rows, stopped, 1)
    for name in ("index.jsonl", *(f"{kind}.f16" for kind in KINDS)):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()
    with pytest.raises(ValueError, match="other recordings"):
        build(rows[::-1], whole, 1)
    target = Features(whole).get(0, "target")
    assert target[:15, 0].tolist() == [3.0] * 15
    assert (Features(whole).get(1, "target")[:, 0] == UNKNOWN_PHONE).all()
    voiced = target[2:-2, 2] > 0
    assert voiced.float().mean() > 0.9
    assert torch.allclose(target[2:-2, 1][voiced].exp(), torch.tensor(100.0), atol=2.0)


def test_the_joint_manifest_takes_the_later_row_and_refuses_what_it_cannot_tell() -> None:
    plain = Utterance("a", "", "s", "x", licence="CC0-1.0")
    placed = Utterance("a", "", "s", "x", labels={"score": 1.0}, licence="CC0-1.0")
    labels = {"noise": {"kind": "recording", "licences": ["CC BY 3.0"]}}
    made = replace(plain, id="b", change="noisy", source="a", made="rule", labels=labels)
    rows = joined_rows([[plain], [placed], [made]])
    assert rows == [placed, made]
    told = summary(rows, {"a": 3600.0, "b": 1800.0}, {"noise": 0.6})
    assert told["hours"] == 1.5
    assert told["by"]["change"] == {
        "noisy": {"hours": 0.5, "rows": 1}, "none": {"hours": 1.0, "rows": 1},
    }  # fmt: skip
    assert "| noisy | 0.50 | 1 |" in summary_page(told)
    assert "| mixed in | CC BY 3.0 | recording | 1 |" in licences_page(rows, "")
    with pytest.raises(ValueError, match="b was made from a"):
        joined_rows([[made]])
    with pytest.raises(ValueError, match="a has no licence"):
        joined_rows([[Utterance("a", "", "s", "x")]])
