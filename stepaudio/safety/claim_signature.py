"""Which key signed the Content Credentials of a file; the C2PA library only says that they hold.

In a file they are nested boxes (JUMBF, ISO/IEC 19566-5): a store of manifests, each with a claim,
which names its assertions by their hashes, and the signature over it, a ``COSE_Sign1`` (RFC 9052)
with its payload left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator

from stepaudio.safety.keys import signature_fits

__all__ = ["claim_signed_by"]

# In CBOR, a string of bytes whose length is told by the next two; headers and claims are such.
_STRING = b"\x59"
# A tag and an array of four: the protected headers, others, no payload, a signature of 64 bytes.
_BEGIN = b"\xd2\x84" + _STRING
_NO_PAYLOAD_AND_64_BYTES = b"\xf6\x58\x40"
# A box with a label begins with a description: 16 bytes of its kind, one of switches, the label.
_LABEL = 17


def claim_signed_by(store: bytes, hashes: Collection[bytes], public: str) -> bool:
    """Whether a key signed the claim that names some assertions.

    Args:
        store: box of all manifests; others than the one that was checked may lie in it, say of a
            recording that went in.
        hashes: of the assertions that the C2PA library found right, the file's own among them. They
            tell the claim that was checked from all others.
        public: 64 hexadecimal digits.

    Returns:
        Yes or no; never an error, whatever is in the store.
    """
    if not hashes:
        return False
    for _, manifests in _boxes(memoryview(store)):
        for kind, manifest in _boxes(manifests):
            claim, signature = _claim(manifest) if kind == b"jumb" else (b"", b"")
            if all(one in claim for one in hashes) and _fits(claim, signature, public):
                return True
    return False


def _boxes(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Kinds and contents of boxes that lie one behind the other, up to what is none."""
    while len(content) >= 8:
        size = int.from_bytes(content[:4], "big")
        if not 8 <= size <= len(content):
            return
        yield bytes(content[4:8]), content[8:size]
        content = content[size:]


def _claim(manifest: memoryview) -> tuple[bytes, bytes]:
    """The claim of a manifest and its signature, as they are spelled; empty where there is none."""
    claim = signature = b""
    for _, box in _boxes(manifest):
        inner = [bytes(content) for _, content in itertools.islice(_boxes(box), 2)]
        label = inner[0][_LABEL:].partition(b"\0")[0] if len(inner) == 2 else b""
        if label == b"c2pa.signature":
            signature = inner[1]
        elif label.startswith(b"c2pa.claim"):
            claim = inner[1]
    return claim, signature


def _fits(claim: bytes, cose: bytes, public: str) -> bool:
    begin, signature = cose[:-64], cose[-64:]
    spelled = begin.startswith(_BEGIN) and begin.endswith(_NO_PAYLOAD_AND_64_BYTES)
    if not spelled or not 256 <= len(claim) < 65536:
        return False
    protected = begin[2 : 5 + int.from_bytes(begin[3:5], "big")]
    # What is signed is an array of four: these words, the protected headers, nothing, the claim.
    length = len(claim).to_bytes(2, "big")
    content = b"\x84\x6aSignature1" + protected + b"\x40" + _STRING + length + claim
    return signature_fits(public, signature.hex(), content)
