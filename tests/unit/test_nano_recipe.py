"""The parts of the recipe that need no speech engine: rules of change and manifests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recipes.nano.data.corpus import Utterance, read_manifest, write_manifest
from recipes.nano.data.voice_change import CHANGES, VoiceChange, change_pitch, warp_frequencies
from stepaudio.edits import EDIT_KINDS


def contour() -> np.ndarray:
    f0 = np.linspace(100, 200, 80, dtype=np.float32)
    f0[30:40] = 0
    return f0


def test_pitch_rules_move_median_and_range_and_keep_silence() -> None:
    f0 = contour()
    changed = change_pitch(f0, VoiceChange(pitch=1.5, range=0.5), 80.0)
    voiced = f0 > 0
    assert ((changed > 0) == voiced).all()
    assert np.median(changed[voiced]) == pytest.approx(1.5 * np.median(f0[voiced]), rel=1e-3)
    assert np.log(changed[voiced]).std() == pytest.approx(0.5 * np.log(f0[voiced]).std(), rel=1e-2)
    assert not change_pitch(f0, CHANGES["style:whisper"], 80.0).any()


def test_warping_moves_a_formant() -> None:
    spectrum = np.exp(-0.5 * ((np.arange(200) - 60) / 5.0) ** 2)[None].astype(np.float32)
    assert warp_frequencies(spectrum, 1.2).argmax() == 72
    assert (warp_frequencies(spectrum, 1.0) == spectrum).all()


def test_every_rule_is_a_published_label() -> None:
    for name in CHANGES:
        kind, _, label = name.partition(":")
        assert label.removeprefix("more ") in EDIT_KINDS[kind].labels


def test_manifests_come_back_and_evaluation_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    rows = [Utterance("a", str(tmp_path / "a.flac"), "s", "één")]
    write_manifest(path, rows)
    assert json.loads(path.read_text(encoding="utf-8"))["path"] == "a.flac"
    assert read_manifest(path) == rows
    path.write_text(json.dumps({"id": "b", "path": "b", "speaker": "s", "train_ok": False}))
    with pytest.raises(ValueError, match="b is not licensed"):
        read_manifest(path)
