"""Interleaving, text form and decoder regrouping against the golden plumbing lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stepaudio.errors import TokenError
from stepaudio.tokenizers.interleave import (
    deinterleave,
    from_text,
    interleave,
    regroup_for_decoder,
    to_text,
    truncate,
)
from stepaudio.types import SpeechTokens

AUDIO_OFFSET = 65536


@pytest.fixture(scope="module")
def plumbing(golden_dir: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((golden_dir / "plumbing.json").read_text())
    return content


def test_pairs(plumbing: dict[str, Any]) -> None:
    assert plumbing["pairs"]
    for pair in plumbing["pairs"]:
        tokens = SpeechTokens(
            torch.tensor(pair["vq02"], dtype=torch.int64),
            torch.tensor(pair["vq06"], dtype=torch.int64),
        )
        ids = interleave(tokens, AUDIO_OFFSET)
        assert ids.tolist() == pair["wav2token"]
        assert to_text(tokens) == pair["token_str"]
        parsed = from_text(pair["token_str"])
        # The official parser fails on an empty string, where an empty stream is the answer here.
        assert interleave(parsed, AUDIO_OFFSET).tolist() == (pair["parsed"] if len(ids) else [])
        for found in (parsed, deinterleave(ids, offset=AUDIO_OFFSET)):
            assert torch.equal(found.linguistic, truncate(tokens).linguistic)
            assert torch.equal(found.semantic, truncate(tokens).semantic)


def test_regrouping(plumbing: dict[str, Any]) -> None:
    for pair in plumbing["pairs"]:
        ids = torch.tensor(pair["wav2token"], dtype=torch.int64) - AUDIO_OFFSET
        if not len(ids):
            with pytest.raises(TokenError, match="empty"):
                regroup_for_decoder(ids)
            continue
        assert regroup_for_decoder(ids).tolist() == pair["reshape"]
        for cut, expected in pair["reshape_cut"].items():
            assert regroup_for_decoder(ids[: len(ids) - int(cut)]).tolist() == expected


def test_ids_off_the_pattern_are_read_by_position(plumbing: dict[str, Any]) -> None:
    case = plumbing["off_pattern"]
    assert regroup_for_decoder(torch.tensor(case["mixed"])).tolist() == case["reshape"]
