"""Training data: from recordings with a manifest to rows of token ids.

- :mod:`~stepaudio.data.manifest`: recordings and what is known of them, checked line by line.
- :mod:`~stepaudio.data.tokenize`: a corpus to codes, in shards, resumable.
- :mod:`~stepaudio.data.ray_tokenize`: the same on many machines with Ray Data.
- :mod:`~stepaudio.data.shards`: the files of codes.
- :mod:`~stepaudio.data.pairs`: an edit with the recording before and after it.
- :mod:`~stepaudio.data.triplets`: neutral and emotional recordings of the same words.
- :mod:`~stepaudio.data.quadruplets`: texts and recordings with and without non-verbal sounds.
- :mod:`~stepaudio.data.cloning`: recordings for both that nobody made.
- :mod:`~stepaudio.data.signal_pairs`: speed, denoise and silence pairs.
- :mod:`~stepaudio.data.digests`: names for what a recording is made from.
- :mod:`~stepaudio.data.degrade`: noise and rooms.
- :mod:`~stepaudio.data.zero_shot`: voices for zero-shot speech.
- :mod:`~stepaudio.data.rows`: chat rows of ids.
- :mod:`~stepaudio.data.mixing`: text and audio in fixed shares of tokens.
- :mod:`~stepaudio.data.margin`: how far two recordings are apart in what was wanted.
- :mod:`~stepaudio.data.isotonic`: its calibration.
- :mod:`~stepaudio.data.margin_selection`: pairs of large margin.
- :mod:`~stepaudio.data.preferences`: preference pairs from ratings.
"""

from __future__ import annotations

from stepaudio.data.manifest import Utterance, read_manifest, write_manifest
from stepaudio.data.margin import MarginScorer
from stepaudio.data.mixing import TokenMix
from stepaudio.data.pairs import EditPair
from stepaudio.data.preferences import PreferencePair
from stepaudio.data.rows import ChatRow
from stepaudio.data.shards import TokenShards
from stepaudio.data.tokenize import tokenize_corpus

__all__ = [
    "ChatRow",
    "EditPair",
    "MarginScorer",
    "PreferencePair",
    "TokenMix",
    "TokenShards",
    "Utterance",
    "read_manifest",
    "tokenize_corpus",
    "write_manifest",
]
