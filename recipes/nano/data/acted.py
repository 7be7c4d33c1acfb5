"""Stage: people who said the same sentence with and without an emotion: pairs that are no rule.

A corpus of acted speech (``emotion`` and ``text_id`` in its manifest) gives a pair for every
recording with an emotion and a neutral one of the same speaker and sentence. Nothing is made; the
emotional recording becomes the row that was changed, the neutral one its source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from recipes.nano.data.corpus import Utterance
from stepaudio.edits import EDIT_KINDS

__all__ = ["acted_pairs", "emotions_of"]

NEUTRAL = "neutral"
#: Spellings of corpora that are not the published labels.
PUBLISHED = {"disgust": "disgusted"}


def emotions_of(manifest: str | Path) -> dict[str, tuple[str, str]]:
    """Emotion and sentence of every recording of a corpus that names both, by id."""
    rows = map(json.loads, Path(manifest).read_text(encoding="utf-8").splitlines())
    return {
        row["id"]: (PUBLISHED.get(row["emotion"], row["emotion"]), row["text_id"])
        for row in rows
        if row.get("emotion") and row.get("text_id")
    }


def acted_pairs(
    utterances: Sequence[Utterance], emotions: Mapping[str, tuple[str, str]]
) -> list[Utterance]:
    """Recordings with an emotion that the published system knows, and a neutral counterpart.

    Args:
        utterances: of the corpus.
        emotions: from :func:`emotions_of`.

    Returns:
        The emotional ones, with ``change`` and ``source``. Several of one speaker and sentence
        take turns with the neutral ones there are.
    """
    neutral: dict[tuple[str, str], list[str]] = {}
    for row in utterances:
        emotion, sentence = emotions.get(row.id, ("", ""))
        if emotion == NEUTRAL:
            neutral.setdefault((row.speaker, sentence), []).append(row.id)
    out = []
    for row in utterances:
        emotion, sentence = emotions.get(row.id, ("", ""))
        sources = neutral.get((row.speaker, sentence))
        if sources and emotion in EDIT_KINDS["emotion"].labels:
            out.append(replace(row, change=f"emotion:{emotion}", source=sources[0]))
            sources.append(sources.pop(0))
    return out
