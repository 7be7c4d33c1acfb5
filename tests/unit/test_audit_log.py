"""The audit log shows whatever is done to it, except going back as a whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from trust_fakes import store_in

from stepaudio.errors import AuditLogError
from stepaudio.safety.audit import AuditLog
from stepaudio.safety.keys import SigningKey
from stepaudio.safety.store import TrustStore


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    store = store_in(tmp_path)
    for number in range(4):
        store.log.append("event", number=str(number))
    return store


def lines(store: TrustStore) -> list[bytes]:
    return (store.folder / "audit.jsonl").read_bytes().splitlines(keepends=True)


def write(store: TrustStore, new: list[bytes]) -> None:
    (store.folder / "audit.jsonl").write_bytes(b"".join(new))


def test_a_chain(store: TrustStore) -> None:
    entries = store.log.entries()
    assert [(one.index, one.details) for one in entries] == [
        (i, {"number": str(i)}) for i in range(4)
    ]
    said = [json.loads(line) for line in lines(store)]
    assert said[0]["previous"] == "0" * 64
    for before, after in zip(lines(store), said[1:], strict=False):
        assert after["previous"] == hashlib.sha256(before).hexdigest()
    head = store.log.head
    assert head.count == 4
    assert head.size == sum(map(len, lines(store)))
    assert head.last == hashlib.sha256(lines(store)[-1]).hexdigest()
    for name in ("audit.jsonl", "audit.head"):
        assert (store.folder / name).stat().st_mode & 0o777 == 0o600


def test_it_goes_on_in_another_process(store: TrustStore) -> None:
    TrustStore(store.folder).log.append("more")
    assert len(store.log.entries()) == 5


@pytest.mark.parametrize("index", range(4))
def test_every_changed_entry_shows(store: TrustStore, index: int) -> None:
    changed = lines(store)
    changed[index] = changed[index].replace(
        b'"number":"%d"' % index, b'"number":"%d"' % (9 - index)
    )
    write(store, changed)
    with pytest.raises(AuditLogError, match=r"altered|does not follow"):
        store.log.entries()


@pytest.mark.parametrize(
    "cut", [slice(0, 3), slice(0, 0), slice(1, 4), slice(None, None, -1)], ids=str
)
def test_left_out_and_moved_entries_show(store: TrustStore, cut: slice) -> None:
    write(store, lines(store)[cut])
    with pytest.raises(AuditLogError):
        store.log.entries()


def test_a_cut_end_shows_when_writing_too(store: TrustStore) -> None:
    write(store, lines(store)[:3])
    with pytest.raises(AuditLogError, match="was shortened: 4 entries"):
        store.log.append("more")
    (store.folder / "audit.jsonl").unlink()
    with pytest.raises(AuditLogError, match="was shortened"):
        store.log.entries()


def test_the_head_cannot_be_changed_or_taken_away(store: TrustStore) -> None:
    path = store.folder / "audit.head"
    good = path.read_bytes()
    write(store, lines(store)[:3])
    shorter = json.loads(good)
    shorter |= {"count": 3, "size": sum(map(len, lines(store)))}
    path.write_text(json.dumps(shorter))
    for call in (store.log.entries, lambda: store.log.append("more")):
        with pytest.raises(AuditLogError, match="not signed by this log's key"):
            call()
    path.write_bytes(b"\x00")
    with pytest.raises(AuditLogError, match="head of the log was altered"):
        store.log.entries()
    path.unlink()
    with pytest.raises(AuditLogError, match="missing"):
        store.log.entries()


def test_entries_of_others_are_not_believed(store: TrustStore) -> None:
    forger = AuditLog(store.folder, SigningKey.make())
    head = store.log.head
    (store.folder / "audit.head").unlink()
    forger._write_head(head)
    forger.append("consent revoked", consent="x")
    with pytest.raises(AuditLogError, match="not signed"):
        store.log.entries()
    store.log._write_head(head)
    with pytest.raises(AuditLogError, match="was not written by this log's key"):
        store.log.entries()


def test_entries_that_are_none(store: TrustStore) -> None:
    last = json.loads(lines(store)[-1])
    with (store.folder / "audit.jsonl").open("ab") as file:
        file.write(json.dumps(last | {"details": []}).encode() + b"\n")
    with pytest.raises(AuditLogError, match="the details are no object"):
        store.log.entries()


def test_power_failures(store: TrustStore) -> None:
    """Between the line and the head, or within the line."""
    head = (store.folder / "audit.head").read_bytes()
    store.log.append("fifth")
    (store.folder / "audit.head").write_bytes(head)
    assert [one.event for one in store.log.entries()][-1] == "fifth"
    with (store.folder / "audit.jsonl").open("ab") as file:
        file.write(b'{"details":{},"ev')
    assert len(store.log.entries()) == 5
    store.log.append("sixth")
    assert [one.event for one in store.log.entries()][-2:] == ["fifth", "sixth"]


def test_a_log_without_its_key(store: TrustStore) -> None:
    (store.folder / "signing_key.pem").unlink()
    with pytest.raises(AuditLogError, match="put the key back"):
        _ = TrustStore(store.folder).key
