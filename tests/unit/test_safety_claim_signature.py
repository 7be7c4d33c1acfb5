"""Which key signed a claim, in stores of manifests put together by hand."""

from __future__ import annotations

import pytest
from trust_fakes import box, labelled, signed_claim

from stepaudio.safety.claim_signature import claim_signed_by
from stepaudio.safety.keys import SigningKey

KEY, OTHER = SigningKey.make(), SigningKey.make()
HASHES = [bytes([number]) * 32 for number in (1, 2)]
CLAIM = b"\xa1" + b"".join(b"\x58\x20" + one for one in HASHES) + bytes(200)


def store(*manifests: bytes) -> bytes:
    return labelled("c2pa", *manifests)


def test_the_signer() -> None:
    good = store(signed_claim(KEY, CLAIM))
    assert claim_signed_by(good, HASHES, KEY.public)
    assert claim_signed_by(good + bytes(9), HASHES, KEY.public)  # padding
    assert not claim_signed_by(good, HASHES, OTHER.public)
    assert not claim_signed_by(good, [], KEY.public)


def test_another_claim_in_the_store() -> None:
    """One that the key did sign, but that names other assertions, does not count."""
    ingredient = signed_claim(KEY, CLAIM.replace(HASHES[1], bytes(32)))
    active = signed_claim(OTHER, CLAIM, "urn:c2pa:2")
    for both in (store(ingredient, active), store(active, ingredient)):
        assert not claim_signed_by(both, HASHES, KEY.public)
        assert claim_signed_by(both, HASHES, OTHER.public)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        store(),
        box(b"jumb", b""),
        store(labelled("urn:c2pa:1", labelled("c2pa.claim.v2", box(b"cbor", CLAIM)))),
        store(signed_claim(KEY, CLAIM[:200])),
        store(signed_claim(KEY, CLAIM).replace(b"\xd2\x84\x59", b"\xd2\x84\x58")),
        store(signed_claim(KEY, CLAIM).replace(b"\xf6\x58\x40", b"\xf6\x58\x41")),
        store(signed_claim(KEY, CLAIM))[:-1],
    ],
    ids=range(8),
)
def test_what_is_no_signed_claim(damaged: bytes) -> None:
    assert not claim_signed_by(damaged, HASHES, KEY.public)
