"""A recording's history: chained, signed, and told without exaggeration."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trust_fakes import store_in

from stepaudio.audio import Audio
from stepaudio.edits import Edit
from stepaudio.errors import OutputExistsError, RecordError
from stepaudio.safety.keys import SigningKey
from stepaudio.safety.manifest import Manifest, edit_values
from stepaudio.safety.provenance import Provenance, Sidecar, file_hash, history_of, sidecar_path
from stepaudio.safety.store import TrustStore
from stepaudio.safety.verification import Verdict, verify
from stepaudio.safety.watermark import MarkNote
from stepaudio.safety.watermark_spread import SpreadSpectrum
from stepaudio.safety.weights import sampled_digest


def sound(seed: int) -> Audio:
    samples = 0.1 * torch.randn(2400, generator=torch.Generator().manual_seed(seed))
    return Audio(samples, 24000)


def step(made: Audio, parent: Audio | None, **chosen: Any) -> Manifest:
    fields: dict[str, Any] = {
        "action": "speak" if parent is None else "edit",
        "sound": made.digest(),
        "parent": None if parent is None else parent.digest(),
        "edits": () if parent is None else (edit_values(Edit.emotion("sad", strength=2)),),
        "model": "embedded",
        "weights": "ab" * 16,
        "seed": -3,
        "policy": "standard",
        "consent": None,
        "software": "stepaudio 0",
        "created": "2026-11-22T12:00:00+00:00",
    }
    return Manifest(**{**fields, **chosen})


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return store_in(tmp_path)


def saved(folder: Path, history: Provenance, made: Audio, key: SigningKey) -> Path:
    path = made.save(folder / "a.wav")
    history.seal(file_hash(path), key).save(sidecar_path(path))
    return path


def standing(verdict: Verdict) -> dict[str, str]:
    return {one.topic: one.standing for one in verdict.findings}


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [
        ("wav", "PCM_16"),
        ("wav", "PCM_24"),
        ("wav", "PCM_32"),
        ("wav", "FLOAT"),
        ("flac", "PCM_16"),
        ("flac", "PCM_24"),
    ],
)
def test_digest_survives_a_lossless_file(tmp_path: Path, suffix: str, subtype: str) -> None:
    # Just beside the middle between two values of 16 bits, where rounding twice goes wrong.
    middles = (torch.arange(-200, 200, dtype=torch.float64) + 0.5) / 2**15
    close = [(middles + shift).float() for shift in (-(2.0**-26), 0.0, 2.0**-26, 2.0**-35)]
    made = Audio(torch.cat([sound(1).samples, *close, torch.tensor([1.0, -1.0])]), 24000)
    path = made.save(tmp_path / f"a.{suffix}", subtype=subtype)
    loaded = Audio.load(path)
    assert loaded.digest() == made.digest()
    assert loaded.source == path


def test_digests_differ_with_samples_and_rate() -> None:
    made = sound(1)
    assert sound(2).digest() != made.digest()
    assert Audio(made.samples, 16000).digest() != made.digest()
    # Kept in files of provenance, so it never changes.
    assert Audio(torch.tensor([0.0, 0.5, -1.0]), 24000).digest().startswith("ddaabbe395faeb23")


def test_resampled_sound_has_no_source(tmp_path: Path) -> None:
    loaded = Audio.load(sound(1).save(tmp_path / "a.wav"))
    assert loaded.resample(16000).source is None


def test_a_chain(tmp_path: Path, store: TrustStore) -> None:
    first, second = sound(1), sound(2)
    history = Provenance(()).then(step(first, None)).then(step(second, first))
    assert history.unbroken
    path = saved(tmp_path, history, second, store.key)
    known = history_of(Audio.load(path))
    assert [one.manifest for one in known.chain] == [one.manifest for one in history.chain]
    assert all(one.intact for one in known.chain)
    longer = known.then(step(sound(3), second))
    assert len(longer.chain) == 3
    # What does not start from the last sound begins a new history.
    assert len(known.then(step(sound(3), first)).chain) == 1
    assert history_of(second).chain == ()
    with pytest.raises(OutputExistsError):
        history.seal("0" * 64, store.key).save(sidecar_path(path))


def test_a_good_file(tmp_path: Path, store: TrustStore) -> None:
    first, second = sound(1), sound(2)
    history = (
        Provenance(())
        .then(step(first, sound(0)))
        .then(step(second, first, consent="c" * 16, watermark="00c0ffee"))
    )
    path = saved(tmp_path, history, second, store.key)
    verdict = verify(path, store)
    assert verdict.proven
    assert not verdict.contradicted
    words = [one.words for one in verdict.findings]
    assert words[2:6] == [
        "The provenance is as it was signed.",
        "It was signed by this machine.",
        "The file is, byte for byte, the one that was saved.",
        "The chain is whole: 2 steps, each from the sound before.",
    ]
    assert words[6].startswith(f"It began with the recording {sound(0).digest()[:16]}…; what that")
    assert words[8] == (
        "Step 2, 2026-11-22T12:00:00+00:00: edit (emotion sad (strength 2)) with stepaudio 0, "
        "model embedded (abababab), seed -3, policy standard, consent cccccccccccccccc, watermark "
        "00c0ffee."
    )


def test_no_sidecar_says_nothing(tmp_path: Path, store: TrustStore) -> None:
    verdict = verify(sound(1).save(tmp_path / "a.wav"), store)
    assert standing(verdict) == dict.fromkeys(("watermark", "detector", "provenance"), "unknown")
    assert not verdict.proven
    assert not verdict.contradicted
    assert not store.folder.exists()  # looking makes no key


@pytest.mark.parametrize(
    ("named", "told"),
    [("payload", "as step 1."), ("other", "carries the watermark of this library, spread")],
)
def test_a_marked_sound(tmp_path: Path, store: TrustStore, named: str, told: str) -> None:
    marker = SpreadSpectrum()
    noise = torch.randn(72000, generator=torch.Generator().manual_seed(0)) * 0.1
    made = marker.embed(Audio(noise, 24000), 0xC0FFEE)
    note = str(MarkNote(marker.name, 0xC0FFEE if named == "payload" else 7))
    path = saved(tmp_path, Provenance(()).then(step(made, None, watermark=note)), made, store.key)
    finding = verify(path, store).findings[0]
    assert (finding.topic, finding.standing) == ("watermark", "good")
    assert told in finding.words
    assert ("as step" in finding.words) == (named == "payload")


def test_other_sound(tmp_path: Path, store: TrustStore) -> None:
    path = saved(tmp_path, Provenance(()).then(step(sound(1), None)), sound(1), store.key)
    sound(2).save(path, force=True)
    verdict = verify(path, store)
    assert standing(verdict)["sound"] == "bad"
    assert verdict.contradicted
    assert history_of(Audio.load(path)).chain == ()


def test_rewritten_without_loss(tmp_path: Path, store: TrustStore) -> None:
    path = saved(tmp_path, Provenance(()).then(step(sound(1), None)), sound(1), store.key)
    Audio.load(path).save(path, force=True, subtype="PCM_24")
    finding = next(one for one in verify(path, store).findings if one.topic == "sound")
    assert finding.words == "Every sample is as it was made."


@pytest.mark.parametrize(
    ("field", "value"), [("policy", "strict"), ("seed", 8), ("consent", "d" * 16)]
)
def test_changed_manifest(tmp_path: Path, store: TrustStore, field: str, value: object) -> None:
    path = saved(tmp_path, Provenance(()).then(step(sound(1), None)), sound(1), store.key)
    beside = sidecar_path(path)
    values = json.loads(beside.read_text())
    values["chain"][0]["manifest"][field] = value
    beside.write_text(json.dumps(values))
    verdict = verify(path, store)
    assert standing(verdict)["signature"] == "bad"
    assert not verdict.proven
    # Signed anew by somebody else, it is whole, but only a claim.
    forged = Provenance(()).then(replace(step(sound(1), None), policy="strict"))
    forged.seal(file_hash(path), SigningKey.make()).save(beside, force=True)
    verdict = verify(path, store)
    assert (standing(verdict)["signature"], standing(verdict)["signer"]) == ("good", "unknown")
    assert not verdict.proven
    assert not verdict.contradicted


def test_a_chain_goes_on_through_a_file_stored_with_loss(tmp_path: Path, store: TrustStore) -> None:
    path = sound(1).save(tmp_path / "a.ogg")
    Provenance(()).then(step(sound(1), None)).seal(file_hash(path), store.key).save(
        sidecar_path(path)
    )
    assert verify(path, store).proven
    loaded = Audio.load(path)
    assert loaded.digest() != sound(1).digest()
    assert len(history_of(loaded).chain) == 1


def test_broken_chain(tmp_path: Path, store: TrustStore) -> None:
    links = [Provenance(()).then(step(sound(i), None)).chain[0] for i in (1, 2)]
    path = saved(tmp_path, Provenance(tuple(links)), sound(2), store.key)
    assert standing(verify(path, store))["chain"] == "bad"


def test_damaged_sidecar(tmp_path: Path, store: TrustStore) -> None:
    path = sound(1).save(tmp_path / "a.wav")
    sidecar_path(path).write_text("{}")
    verdict = verify(path, store)
    assert standing(verdict) == {"watermark": "unknown", "provenance": "bad", "detector": "unknown"}
    assert history_of(Audio.load(path)).chain == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.update(version=2), "has a version this stepaudio does not read"),
        (lambda values: values.update(chain=[]), "has no manifest in it"),
        (lambda values: values["chain"][0]["manifest"].update(version=2), "has a version this"),
        (lambda values: values["chain"][0]["manifest"].update(action="sing"), "action 'sing'"),
        (lambda values: values["chain"][0]["manifest"].update(span=[1.0]), "a span is two times"),
    ],
)
def test_sidecars_that_cannot_be_read(
    tmp_path: Path, store: TrustStore, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = saved(tmp_path, Provenance(()).then(step(sound(1), None)), sound(1), store.key)
    values = json.loads(sidecar_path(path).read_text())
    change(values)
    with pytest.raises(RecordError, match=message):
        Sidecar.from_bytes(json.dumps(values).encode())


def test_weights() -> None:
    one, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    assert sampled_digest(one) == sampled_digest(one) != sampled_digest(other)
    assert len(sampled_digest(one)) == 32
    assert sampled_digest(one, other) != sampled_digest(other, one)
    half = torch.nn.Linear(3, 2).bfloat16()
    assert sampled_digest(half) == sampled_digest(half.float())
