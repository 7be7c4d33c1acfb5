"""Rows of zero-shot speech: every recording said in the voice of another one of its speaker.

The largest part of the paper's fine-tuning data; it needs nothing but speakers with two recordings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from stepaudio.data.manifest import Utterance
from stepaudio.data.rows import ChatRow, clone_row
from stepaudio.interfaces import TextTokenizer
from stepaudio.prompts import Layout
from stepaudio.seeds import derive_seed
from stepaudio.types import SpeechTokens

__all__ = ["zero_shot_pairs", "zero_shot_rows"]


def zero_shot_pairs(
    utterances: Iterable[Utterance], *, seed: int = 0
) -> list[tuple[Utterance, Utterance]]:
    """Give every recording a voice: another one of the same speaker, with other words.

    Args:
        utterances: those that nobody changed and whose speaker and words are known take part.
        seed: of the choice, which for one recording does not depend on the other speakers.

    Returns:
        Voice and target, in the order of the targets in the manifest.
    """
    speakers: dict[tuple[str, str], list[Utterance]] = defaultdict(list)
    usable = [row for row in utterances if row.speaker and row.text and row.change == "none"]
    for row in usable:
        speakers[row.set, row.speaker].append(row)
    pairs = []
    for row in usable:
        voices = [v for v in speakers[row.set, row.speaker] if v.text != row.text]
        if voices:
            rng = np.random.default_rng(derive_seed(seed, row.id))
            pairs.append((voices[int(rng.integers(len(voices)))], row))
    return pairs


def zero_shot_rows(
    text: TextTokenizer,
    utterances: Iterable[Utterance],
    codes: Mapping[str, SpeechTokens],
    *,
    seed: int = 0,
    longest: int | None = None,
    layout: Layout = "v2",
) -> list[ChatRow]:
    """Rows of all recordings that have codes.

    Args:
        text: the model's text tokenizer.
        utterances: of a manifest.
        codes: of its recordings.
        seed: of the choice of voices.
        longest: ids of a row at most; None for any length.
        layout: of the prompts.

    Returns:
        One row per recording, without those that are too long.
    """
    there = [row for row in utterances if row.id in codes]
    rows = []
    for voice, target in zero_shot_pairs(there, seed=seed):
        made = clone_row(
            text, target.text, codes[target.id], voice.text, codes[voice.id], layout=layout
        )
        if longest is None or len(made) <= longest:
            rows.append(made)
    return rows
