"""Triplets ⟨text, neutral audio, emotional or styled audio⟩ of one speaker (EditX, SFT data).

Acted corpora hold them as they are: the same person said the same words twice. Where they do not,
the paper has a voice cloned twice with the same new text, once after a neutral recording and once
after an emotional one; :func:`plan_clones` says what to clone, :mod:`stepaudio.data.cloning` does.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from stepaudio.data.cloning import CloneRequest
from stepaudio.data.digests import short_digest
from stepaudio.data.manifest import Utterance
from stepaudio.data.pairs import EditPair
from stepaudio.edits import Edit

__all__ = ["EMOTION_NAMES", "NEUTRAL", "acted_triplets", "plan_clones"]

#: What corpora call an emotion -> the label of the editor.
EMOTION_NAMES: Mapping[str, str] = {
    "happy": "happy",
    "angry": "angry",
    "sad": "sad",
    "fear": "fear",
    "surprise": "surprised",
    "disgust": "disgusted",
}
#: What corpora call speech without emotion.
NEUTRAL = frozenset({"neutral", "read"})

_NOT_WORDS = re.compile(r"[\W_]+")


def acted_triplets(utterances: Iterable[Utterance], *, removals: bool = True) -> list[EditPair]:
    """Find pairs of a neutral and an emotional recording of the same words.

    Args:
        utterances: with ``speaker`` and ``emotion``; the words are the same where ``text_id`` is,
            or without one where ``text`` is but for case and punctuation.
        removals: also ask for the emotion to be taken away again.

    Returns:
        Every neutral recording with every emotional one, in the order of the manifest.
    """
    groups: dict[tuple[str, str, str], list[Utterance]] = defaultdict(list)
    for row in utterances:
        words = row.text_id or _NOT_WORDS.sub(" ", row.text.casefold()).strip()
        if row.speaker and words and row.change == "none":
            groups[row.set, row.speaker, words].append(row)
    pairs = []
    for rows in groups.values():
        for before in rows:
            if before.emotion not in NEUTRAL:
                continue
            for after in rows:
                label = EMOTION_NAMES.get(after.emotion)
                if label is None:
                    continue
                edit, text, who = Edit.emotion(label), before.text, before.speaker
                pairs.append(EditPair(edit, before.id, after.id, text, who))
                if removals:
                    removal = Edit.remove("emotion")
                    pairs.append(EditPair(removal, after.id, before.id, text, who))
    return pairs


def plan_clones(
    neutral: Utterance, changed: Utterance, change: str, texts: Sequence[str]
) -> list[CloneRequest]:
    """What to clone for triplets with new texts.

    Args:
        neutral: a plain recording of a speaker.
        changed: a recording of the same speaker with an emotion or in a style.
        change: which, e.g. ``"emotion:happy"`` or ``"style:whisper"``.
        texts: new words, in both manners; the same ones count once.

    Returns:
        Two requests per text; the second names the first as its source, so
        :func:`stepaudio.data.pairs.made_pairs` finds the triplet. Ids follow from voice, words
        and change alone: plans for several changes share their plain request.
    """
    requests = []
    name = change.replace(":", "-").replace(" ", "_")
    for text in dict.fromkeys(texts):
        plain = f"{neutral.id}.{short_digest(neutral.id, text)}"
        other = f"{plain}-{name}.{short_digest(changed.id, text, change)}"
        requests.append(CloneRequest(plain, text, neutral))
        requests.append(CloneRequest(other, text, changed, change, plain))
    return requests
