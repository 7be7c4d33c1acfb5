"""A result is saved with its history, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stepaudio.audio import Audio
from stepaudio.edits import Edit
from stepaudio.errors import RecordError
from stepaudio.result import EditResult
from stepaudio.safety.manifest import Manifest, edit_values
from stepaudio.safety.provenance import Provenance, Sidecar, sidecar_path
from stepaudio.types import SpeechTokens, TokenSpec


def result() -> EditResult:
    audio = Audio(torch.full((240,), 0.1), 24000)
    tokens = SpeechTokens(torch.zeros(2).long(), torch.zeros(3).long(), TokenSpec(12, 20))
    manifest = Manifest(
        action="edit",
        sound=audio.digest(),
        parent=audio.digest(),
        edits=(edit_values(Edit.denoise()),),
        model="embedded",
        weights="ab" * 16,
        seed=1,
        policy="standard",
        consent=None,
        software="stepaudio 0",
        created="2026-11-22T12:00:00+00:00",
    )
    history = Provenance(()).then(manifest)
    return EditResult(audio, tokens, "", (Edit.denoise(),), "end", 1, {}, None, provenance=history)


def test_the_history_lies_beside_the_recording(tmp_path: Path) -> None:
    path = result().save(tmp_path / "a.wav")
    assert Sidecar.load(sidecar_path(path)).intact
    plain = replace(result(), provenance=None).save(tmp_path / "b.wav")
    assert not sidecar_path(plain).exists()


@pytest.mark.parametrize("value", [torch.tensor(1), float("nan"), "\udcff"])
def test_no_recording_is_left_without_its_history(tmp_path: Path, value: object) -> None:
    good = result()
    assert good.provenance is not None
    manifest = replace(good.provenance.manifest, edits=({"kind": value},))
    bad = replace(good, provenance=Provenance(()).then(manifest))
    with pytest.raises(RecordError, match="canonical JSON"):
        bad.save(tmp_path / "a.wav")
    assert not list(tmp_path.iterdir())
    path = good.save(tmp_path / "a.wav")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(RecordError, match="canonical JSON"):
        replace(bad, audio=Audio(torch.zeros(9), 24000)).save(path, force=True)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
