"""Voices, records and stores for tests of consent."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stepaudio.safety.consent import ConsentRecord
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


def store_in(folder: Path) -> TrustStore:
    return TrustStore(folder / "trust")
