"""A consent record is what its signer left, readable by its owner only."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from trust_fakes import record, store_in

from stepaudio.errors import NoConsentError, OutputExistsError, RecordError, SignatureError
from stepaudio.safety.consent import ConsentRecord
from stepaudio.safety.keys import SigningKey, signature_fits
from stepaudio.safety.store import TrustStore


def test_round_trip(tmp_path: Path) -> None:
    made = record(store_in(tmp_path))
    path = made.save(tmp_path / "a.json")
    assert path.stat().st_mode & 0o777 == 0o600
    again = ConsentRecord.load(path)
    assert (again, again.id) == (made, made.id)
    assert again.intact
    assert again.fingerprint.embedding == (0.6, 0.8, 0.0)
    with pytest.raises(OutputExistsError):
        made.save(path)


@pytest.mark.parametrize(
    "change",
    [
        {"speaker": "Eve"},
        {"purposes": ("clone", "train")},
        {"expires": "2099-01-01T00:00:00+00:00"},
        {"words": "unverified"},
        {"scope": ""},
        {"key": "0" * 64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_change_breaks_the_signature(tmp_path: Path, change: dict[str, object]) -> None:
    made = record(store_in(tmp_path))
    assert not replace(made, **change).intact  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speaker": " "}, "names the speaker"),
        ({"purposes": ()}, "is for some of clone, edit, train"),
        ({"purposes": ("sell",)}, "is for some of"),
        ({"words": "maybe"}, "verified or unverified"),
        ({"expires": "2020-01-01T00:00:00+00:00"}, "cannot end"),
        ({"expires": "tomorrow"}, "not a time"),
        ({"expires": "2099-01-01T00:00:00"}, "time zone"),
        ({"expires": "0001-01-01T00:00:00+23:59"}, "not a time"),
    ],
)
def test_nonsense(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        record(store_in(tmp_path), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"version": 2}, "version 2"), ({"more": 1}, "unknown field 'more'"), ({"key": "x"}, "'key'")],
)
def test_other_formats(tmp_path: Path, change: dict[str, object], message: str) -> None:
    values = json.loads(record(store_in(tmp_path)).to_bytes())
    with pytest.raises(RecordError, match=message):
        ConsentRecord.from_bytes(json.dumps(values | change).encode())


def test_keys(tmp_path: Path) -> None:
    key = SigningKey.make()
    path = tmp_path / "key.pem"
    key.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(path).public == key.public
    assert key.public not in path.read_text()
    signature = key.sign(b"yes")
    assert signature_fits(key.public, signature, b"yes")
    assert not signature_fits(key.public, signature, b"no")
    assert not signature_fits(SigningKey.make().public, signature, b"yes")
    assert not signature_fits("zz", "", b"yes")
    assert "PRIVATE" not in repr(key)
    path.chmod(0o640)
    with pytest.raises(SignatureError, match="chmod 600"):
        SigningKey.load(path)
    path.chmod(0o600)
    path.write_text("no key")
    with pytest.raises(RecordError, match="PEM"):
        SigningKey.load(path)
    path.write_bytes(
        X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with pytest.raises(RecordError, match="another kind of key; it must be Ed25519"):
        SigningKey.load(path)


def test_a_store_makes_nothing_before_it_is_asked(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert not store.trusts("0" * 64)
    assert store.records() == []
    assert not store.folder.exists()
    assert store.trusts(store.key.public)
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert TrustStore(store.folder).key.public == store.key.public


def test_records_are_kept_and_found(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    made = record(store)
    path = store.keep(made)
    assert store.find(made.id) == store.find(path) == made
    assert store.records() == [made]
    assert [entry.event for entry in store.log.entries()] == ["consent given"]
    # The log names nobody.
    assert "Ada" not in (store.folder / "audit.jsonl").read_text()
    with pytest.raises(NoConsentError, match="neither a file nor an id"):
        store.find("nothing")
    path.write_text("{}")
    with pytest.raises(RecordError):
        store.find(made.id)


def test_trusted_keys(tmp_path: Path) -> None:
    store, other = store_in(tmp_path), SigningKey.make()
    assert not store.trusts(other.public)
    store.folder.mkdir()
    file = store.folder / "trusted_keys"
    file.write_text(f"# studio\n\n{other.public} the studio's desk\n")
    assert store.trusts(other.public)
    file.write_text("abc\n")
    with pytest.raises(RecordError, match="line 1"):
        store.trusts(other.public)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(RecordError, match="not text"):
        store.trusts(other.public)
