"""Voices, records and stores for tests of consent."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stepaudio.safety.consent import ConsentRecord
from stepaudio.safety.keys import SigningKey
from stepaudio.safety.matching import fingerprint
from stepaudio.safety.store import TrustStore

ENCODER = "0" * 32
VOICE = torch.tensor([3.0, 4.0, 0.0])
#: Cosine to VOICE: 0.6.
STRANGER = torch.tensor([1.0, 0.0, 0.0])
NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)


def record(
    store: TrustStore, voice: Tensor = VOICE, encoder: str = ENCODER, **chosen: Any
) -> ConsentRecord:
    """A valid record, signed by the store's key, except for what is chosen."""
    now = datetime.now(timezone.utc)
    fields: dict[str, Any] = {
        "speaker": "Ada",
        "asked_by": "the theatre",
        "purposes": ("clone",),
        "scope": "the play",
        "languages": ("en",),
        "given": (now - timedelta(hours=1)).isoformat(timespec="seconds"),
        "expires": (now + timedelta(days=1)).isoformat(timespec="seconds"),
        "fingerprint": fingerprint([voice], ["ab" * 32], encoder),
        "phrase": "I am Ada",
        "words": "verified",
    }
    return ConsentRecord(**{**fields, **chosen}).signed(store.key)


def box(kind: bytes, content: bytes) -> bytes:
    """As JUMBF nests them."""
    return (len(content) + 8).to_bytes(4, "big") + kind + content


def labelled(label: str, *boxes: bytes) -> bytes:
    return box(
        b"jumb", box(b"jumd", bytes(16) + b"\x03" + label.encode() + b"\0") + b"".join(boxes)
    )


def signed_claim(key: SigningKey, claim: bytes, label: str = "urn:c2pa:1") -> bytes:
    """A manifest with a claim, of 256 bytes at least, and its ``COSE_Sign1``."""
    protected = b"\x59\x01\x02" + bytes(258)
    spelled = b"\x59" + len(claim).to_bytes(2, "big") + claim
    signature = bytes.fromhex(key.sign(b"\x84\x6aSignature1" + protected + b"\x40" + spelled))
    cose = b"\xd2\x84" + protected + b"\xa1\x63pad\x42\0\0" + b"\xf6\x58\x40" + signature
    return labelled(
        label,
        labelled("c2pa.assertions"),
        labelled("c2pa.claim.v2", box(b"cbor", claim)),
        labelled("c2pa.signature", box(b"cbor", cose)),
    )


def store_in(folder: Path) -> TrustStore:
    return TrustStore(folder / "trust")
