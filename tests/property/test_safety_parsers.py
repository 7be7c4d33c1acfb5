"""Whatever is in a file, reading it gives a value or a typed error; signatures cover every byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trust_fakes import box, record, signed_claim, store_in

from stepaudio.errors import AuditLogError, RecordError
from stepaudio.safety.canonical import canonical, parse
from stepaudio.safety.claim_signature import claim_signed_by
from stepaudio.safety.consent import ConsentRecord
from stepaudio.safety.manifest import Manifest
from stepaudio.safety.provenance import Provenance, Sidecar
from stepaudio.safety.store import TrustStore

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TrustStore:
    store = store_in(tmp_path_factory.mktemp("store"))
    for number in range(3):
        store.log.append("event", number=str(number))
    return store


@pytest.fixture(scope="module")
def files(store: TrustStore) -> dict[Any, bytes]:
    """A good file of each kind."""
    manifest = Manifest(
        "speak", "a" * 64, None, (), "m", "w", 1, "standard", None, "s", "2026-11-22T12:00:00+00:00"
    )
    sidecar = Provenance(()).then(manifest).seal("b" * 64, store.key)
    unsigned = json.loads(sidecar.content())
    return {
        ConsentRecord: record(store).to_bytes(),
        Sidecar: canonical({**unsigned, "signature": sidecar.signature}),
    }


@QUICK
@given(content=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything(content: bytes) -> None:
    for kind in (ConsentRecord, Sidecar):
        with pytest.raises(RecordError):
            kind.from_bytes(content)


@QUICK
@given(data=st.data())
def test_a_good_file_with_another_value_somewhere(files: dict[Any, bytes], data: Any) -> None:
    for kind, content in files.items():
        values = json.loads(content)
        place: Any = values
        while True:
            key = data.draw(
                st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
            )
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
                break
            place = inner
        place[key] = data.draw(JSON)
        try:
            read = kind.from_bytes(json.dumps(values).encode())
        except RecordError:
            continue
        assert read.intact == (read == kind.from_bytes(content))


@QUICK
@given(data=st.data())
def test_flipped_bytes(files: dict[Any, bytes], data: Any) -> None:
    for kind, content in files.items():
        at = data.draw(st.integers(0, len(content) - 1))
        changed = bytearray(content)
        changed[at] ^= data.draw(st.integers(1, 255))
        try:
            read = kind.from_bytes(bytes(changed))
        except RecordError:
            continue
        # Only white space around the object changes nothing.
        assert not read.intact or read == kind.from_bytes(content)


@QUICK
@given(data=st.data())
def test_signed_claims_with_other_bytes(store: TrustStore, data: Any) -> None:
    claim = b"\xa1\x58\x20" + b"h" * 32 + bytes(300)
    content = bytearray(box(b"jumb", signed_claim(store.key, claim)))
    at = data.draw(st.integers(0, len(content)))
    content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    # Whether it still holds depends on the place; that this key signed nothing else does not.
    assert claim_signed_by(bytes(content), [b"h" * 32], store.key.public) in (True, False)
    assert not claim_signed_by(bytes(content), [b"g" * 32], store.key.public)
    assert not claim_signed_by(bytes(content), [b"h" * 32], "0" * 64)


@QUICK
@given(value=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON))
def test_canonical_spelling_reads_back(value: dict[str, Any]) -> None:
    try:
        content = canonical(value)
    except RecordError:
        return  # half a surrogate pair in a key deep down
    assert canonical(parse(content, "x")) == content


@QUICK
@given(data=st.data())
def test_no_change_of_the_log_goes_unseen(store: TrustStore, data: Any) -> None:
    path = store.folder / data.draw(st.sampled_from(["audit.jsonl", "audit.head"]))
    good = path.read_bytes()
    kept = store.log.entries()
    changed = bytearray(good)
    at = data.draw(st.integers(0, len(good) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "insert"]))
    if how == "flip":
        changed[at] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del changed[at:]
    else:
        changed[at:at] = data.draw(st.binary(min_size=1, max_size=5))
    try:
        path.write_bytes(bytes(changed))
        try:
            # Spaces in the head say the same.
            assert store.log.entries() == kept
            assert path.name == "audit.head"
        except AuditLogError:
            pass
    finally:
        path.write_bytes(good)


def test_the_log_grows_again(store: TrustStore, tmp_path: Path) -> None:
    store.log.append("after")
    assert store.log.entries()[-1].event == "after"
