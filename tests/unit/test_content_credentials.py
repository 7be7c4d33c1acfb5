"""Provenance inside WAV and MP3 files, written and read back by the C2PA library."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from test_provenance import sound, standing, step
from trust_fakes import store_in

from stepaudio.audio import Audio
from stepaudio.errors import MissingExtraError, RecordError
from stepaudio.safety.content_credentials import embed, read, require_c2pa
from stepaudio.safety.provenance import Provenance
from stepaudio.safety.store import TrustStore
from stepaudio.safety.verification import verify

HISTORY = Provenance(()).then(step(sound(1), None))


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return store_in(tmp_path)


def test_other_formats_and_without_the_extra(
    tmp_path: Path, store: TrustStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecordError, match=r"ending in \.wav or \.mp3"):
        require_c2pa(Path("a.flac"))
    monkeypatch.setitem(sys.modules, "c2pa", None)
    path = sound(1).save(tmp_path / "a.wav")
    with pytest.raises(MissingExtraError, match=r"stepaudio\[c2pa\]"):
        embed(path, HISTORY, store)
    assert read(path) is None


@pytest.mark.parametrize("suffix", [".wav", ".mp3"])
def test_read_back(tmp_path: Path, store: TrustStore, suffix: str) -> None:
    pytest.importorskip("c2pa")
    path = sound(1).save(tmp_path / f"a{suffix}")
    assert read(path) is None
    before = Audio.load(path).digest()
    embed(path, HISTORY, store)
    assert Audio.load(path).digest() == before
    assert (store.folder / "certificates.pem").stat().st_mode & 0o777 == 0o600
    found = read(path)
    assert found is not None
    assert found.valid
    assert found.provenance is not None
    assert found.provenance.manifest == HISTORY.manifest
    # Without a sidecar they are all there is.
    known = standing(verify(path, store))
    assert (known["credentials"], known["signature"], known["signer"]) == ("good",) * 3
    assert known["sound"] == ("good" if suffix == ".wav" else "bad")


def test_changed_samples_show(tmp_path: Path, store: TrustStore) -> None:
    pytest.importorskip("c2pa")
    path = sound(1).save(tmp_path / "a.wav")
    embed(path, HISTORY, store)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(bytes(content))
    verdict = verify(path, store)
    assert standing(verdict)["credentials"] == "bad"
    assert verdict.contradicted
