"""Codes of a corpus: the same as one by one, whole after a kill, and never of two tokenizers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import debug_parts as debug
import pytest
import torch
from fakes import TOKENS, FakeTokenizer

from stepaudio.audio import Audio
from stepaudio.data.manifest import Utterance
from stepaudio.data.shards import TokenShards
from stepaudio.data.tokenize import tokenize_corpus
from stepaudio.errors import DataError
from stepaudio.types import SpeechTokens


class Counting(FakeTokenizer):
    """Counts recordings, and dies before one too many."""

    def __init__(self, most: int = 1000) -> None:
        self.most, self.heard = most, 0

    def encode(self, audios: Sequence[Audio]) -> list[SpeechTokens]:
        if self.heard + len(audios) > self.most:
            raise KeyboardInterrupt
        self.heard += len(audios)
        return super().encode(audios)


@pytest.fixture
def corpus(tmp_path: Path) -> list[Utterance]:
    rows = []
    for number in range(5):
        path = tmp_path / f"{number}.wav"
        debug.speech(0.3 + 0.2 * number, seed=number).save(path)
        rows.append(Utterance(f"r{number}", str(path), "s"))
    return rows


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_codes_are_those_of_single_recordings(corpus: list[Utterance], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    codes = tokenize_corpus(
        corpus,
        FakeTokenizer(),
        tmp_path / "codes",
        per_shard=2,
        batch_size=3,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(2, 5), (4, 5), (5, 5)]
    assert list(codes) == [row.id for row in corpus]
    assert codes.spec == TOKENS
    assert codes.tokenizer == "FakeTokenizer"
    for row in corpus:
        alone = FakeTokenizer().encode([Audio.load(row.path)])[0]
        assert torch.equal(codes[row.id].linguistic, alone.linguistic)
        assert torch.equal(codes[row.id].semantic, alone.semantic)
    assert codes.seconds == pytest.approx(sum(codes[key].seconds for key in codes))
    with pytest.raises(KeyError):
        codes["r9"]


def test_a_killed_run_goes_on_and_ends_with_the_same_files(
    corpus: list[Utterance], tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    tokenize_corpus(corpus, Counting(), whole, per_shard=2, batch_size=1)
    with pytest.raises(KeyboardInterrupt):
        tokenize_corpus(corpus, Counting(most=3), broken, per_shard=2, batch_size=1)
    assert [path.name for path in broken.iterdir()] == ["00000.safetensors"]
    again = Counting()
    tokenize_corpus(corpus, again, broken, per_shard=2, batch_size=1)
    assert again.heard == 3
    assert contents(whole) == contents(broken)


def test_bad_recordings_are_noted_and_the_rest_goes_on(
    corpus: list[Utterance], tmp_path: Path
) -> None:
    debug.speech(0.05).save(tmp_path / "1.wav", force=True)
    Path(corpus[3].path).write_bytes(b"noise")
    codes = tokenize_corpus(corpus, FakeTokenizer(), tmp_path / "codes", per_shard=10)
    assert list(codes) == ["r0", "r2", "r4"]
    assert "shorter than one unit" in codes.errors["r1"]
    assert "3.wav" in codes.errors["r3"]
    lines = (tmp_path / "codes" / "index.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[2]) == {"id": "r2", "shard": "00000.safetensors", "units": 5}
    alone = FakeTokenizer().encode([Audio.load(corpus[4].path)])[0]
    assert torch.equal(codes["r4"].semantic, alone.semantic)


def test_shards_of_another_run_are_refused(corpus: list[Utterance], tmp_path: Path) -> None:
    tokenize_corpus(corpus, FakeTokenizer(), tmp_path / "codes", per_shard=2)
    with pytest.raises(DataError, match="other recordings"):
        tokenize_corpus(corpus[1:], FakeTokenizer(), tmp_path / "codes", per_shard=2)
    with pytest.raises(DataError, match=r"other tokenizer \(FakeTokenizer\)"):
        tokenize_corpus(corpus, Counting(), tmp_path / "codes", per_shard=2)
    with pytest.raises(DataError, match="at least one recording"):
        tokenize_corpus([], FakeTokenizer(), tmp_path / "codes")


def test_a_damaged_shard_is_named(corpus: list[Utterance], tmp_path: Path) -> None:
    tokenize_corpus(corpus, FakeTokenizer(), tmp_path / "codes")
    (tmp_path / "codes" / "00000.safetensors").write_bytes(b"\x80\x04.")
    with pytest.raises(DataError, match=r"00000\.safetensors is not a shard"):
        TokenShards(tmp_path / "codes")
    with pytest.raises(DataError, match="does not exist"):
        TokenShards(tmp_path)
