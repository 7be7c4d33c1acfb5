"""Manifests: what comes back, what is refused, and which line is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from trust_fakes import record, store_in

from stepaudio.data.manifest import Utterance, consent_refusals, read_manifest, write_manifest
from stepaudio.errors import (
    ConsentRevokedError,
    DataError,
    NoConsentError,
    OutputExistsError,
    PurposeError,
)

ROW = {"id": "a", "path": "audio/a.flac"}


def written(folder: Path, *rows: Any) -> Path:
    path = folder / "manifest.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_manifests_come_back_with_absolute_paths(tmp_path: Path) -> None:
    rows = [
        Utterance("a", str(tmp_path / "audio" / "a.flac"), "s", "één\u2028zwei", "nl"),
        Utterance("b", "/elsewhere/b.wav", ratings={"natural_pct": 95.0}, train_ok=False),
    ]
    path = write_manifest(tmp_path / "manifest.jsonl", rows)
    assert [json.loads(line)["path"] for line in path.read_text("utf-8").split("\n") if line] == [
        "audio/a.flac",
        "/elsewhere/b.wav",
    ]
    assert read_manifest(path) == rows
    with pytest.raises(OutputExistsError):
        write_manifest(path, rows)


def test_what_a_corpus_does_not_know_or_adds_is_no_error(tmp_path: Path) -> None:
    corpus = {**ROW, "speaker": None, "text": None, "intensity": None, "seconds": 2, "sr": 16000}
    assert read_manifest(written(tmp_path, "", corpus)) == [
        Utterance("a", str(tmp_path / "audio" / "a.flac"), seconds=2.0)
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "not JSON"),
        ("[]", "must be an object"),
        ({"path": "x"}, "'id' is missing"),
        ({"id": "x", "path": ""}, "'path' is missing"),
        ({**ROW, "id": 3}, "'id' must be of type str"),
        ({**ROW, "train_ok": "no"}, "'train_ok' must be of type bool"),
        ({**ROW, "seconds": True}, "'seconds' must be of type float"),
        ({**ROW, "seconds": -1}, "must not be negative"),
        ({**ROW, "ratings": {"natural": "high"}}, "'ratings' must hold numbers"),
        ({**ROW, "labels": []}, "'labels' must be of type dict"),
        ({**ROW, "id": "first"}, "stands in line 1 too"),
        ({**ROW, "train_ok": False}, "not licensed for training"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, row: Any, words: str) -> None:
    path = written(tmp_path, {**ROW, "id": "first"}, row)
    with pytest.raises(DataError, match=words) as caught:
        read_manifest(path, training=True)
    assert f"{path}:2: " in str(caught.value)


def test_several_wrong_lines_are_listed_and_then_counted(tmp_path: Path) -> None:
    path = written(tmp_path, *({"id": str(n)} for n in range(8)))
    with pytest.raises(DataError, match=r":1: .*:5: .*; and 3 more$"):
        read_manifest(path)


def test_a_missing_manifest_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_manifest(tmp_path / "none.jsonl")


def test_voices_under_consent_train_only_as_they_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path)
    monkeypatch.setenv("STEPAUDIO_TRUST_DIR", str(store.folder))
    allowed, other = (record(store, purposes=(what,)) for what in ("train", "clone"))
    for one in (allowed, other):
        store.keep(one)

    def manifest(consent: str) -> Path:
        return written(tmp_path, ROW, {"id": "b", "path": "b.wav", "consent": consent})

    assert len(read_manifest(manifest(allowed.id), training=True)) == 2
    with pytest.raises(PurposeError, match="not train"):
        read_manifest(manifest(other.id), training=True)
    with pytest.raises(NoConsentError, match="'lost'"):
        read_manifest(manifest("lost"), training=True)
    store.revoke(allowed)
    with pytest.raises(ConsentRevokedError):
        read_manifest(manifest(allowed.id), training=True)
    rows = read_manifest(manifest(other.id))  # to look at, not to train
    assert list(consent_refusals(rows)) == [other.id]
