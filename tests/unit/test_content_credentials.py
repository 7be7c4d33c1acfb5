"""Provenance inside WAV and MP3 files, written and read back by the C2PA library."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from test_provenance import sound, standing, step
from trust_fakes import store_in

from stepaudio.audio import Audio
from stepaudio.errors import MissingExtraError, RecordError
from stepaudio.safety.content_credentials import FORMATS, embed, read, require_c2pa
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
    # MP3 stores with loss; whoever made the sound vouches for the file.
    assert known["sound"] == "good"
    assert verify(path, store).proven
    # So does a machine that trusts the signer.
    other = store_in(tmp_path / "other")
    assert not verify(path, other).proven
    _ = other.key
    (other.folder / "trusted_keys").write_text(f"{store.key.public} desk\n")
    assert verify(path, other).proven


def taken_apart(path: Path) -> tuple[Provenance, bytes]:
    found = read(path)
    assert found is not None
    assert found.provenance is not None
    return found.provenance, path.read_bytes()


@pytest.mark.parametrize("suffix", [".wav", ".mp3"])
@pytest.mark.parametrize("with_the_original", [False, True])
def test_a_chain_copied_into_another_file(
    tmp_path: Path, store: TrustStore, suffix: str, with_the_original: bool
) -> None:
    """Anybody can put it under a claim of their own that C2PA finds valid."""
    c2pa = pytest.importorskip("c2pa")
    genuine = sound(1).save(tmp_path / f"genuine{suffix}")
    embed(genuine, HISTORY, store)
    chain, content = taken_apart(genuine)
    impostor, path = store_in(tmp_path / "impostor"), sound(2).save(tmp_path / f"a{suffix}")
    if with_the_original:
        # The genuine claim, with its signature, then lies in the same file.
        class Builder(c2pa.Builder):  # type: ignore[misc,name-defined]
            def sign(self, *args: Any) -> Any:
                parent = {"title": "x", "relationship": "componentOf"}
                self.add_ingredient(parent, FORMATS[suffix], io.BytesIO(content))
                return super().sign(*args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(c2pa, "Builder", Builder)
            embed(path, chain, impostor)
        assert bytes.fromhex(store.key.public) in path.read_bytes()
    else:
        embed(path, chain, impostor)
    found = read(path)
    assert found is not None
    assert (found.valid, found.sealed) == (True, False)
    verdict = verify(path, store)
    assert standing(verdict)["credentials"] == standing(verdict)["signer"] == "good"
    assert standing(verdict)["sound"] == "bad"
    assert not verdict.proven
    assert verdict.contradicted


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
