"""What is learned from: edits of emotion and style as codes, with their margins.

The pairs are those of :mod:`recipes.nano.lm_pairs`. A part of the speakers is held out, and with
them every text they say; nothing here trains on either.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from recipes.nano.codes import Codes
from recipes.nano.data.features import Features
from recipes.nano.lm_pairs import pairs_of
from recipes.nano.posttrain.plan import EMOTIONS, STYLES
from stepaudio.data.manifest import Utterance
from stepaudio.data.margin import MarginScorer
from stepaudio.data.margin_selection import score_pairs
from stepaudio.data.pairs import EditPair
from stepaudio.types import SpeechTokens, TokenSpec

__all__ = ["Example", "arms", "read_examples", "shuffled", "split", "with_margins"]

#: Of the speakers, in percent.
_HELD_OUT = 15


@dataclass(frozen=True)
class Example:
    """One edit.

    Attributes:
        pair: the edit and its words; recordings are named ``folder/id``, so no two are alike.
        before: codes of the recording before.
        after: codes of the recording after.
        audio: path of the recording before.
        changed: path of the recording after.
        lang: of the words.
        synthetic: an engine spoke.
    """

    pair: EditPair
    before: SpeechTokens
    after: SpeechTokens
    audio: str
    changed: str
    lang: str
    synthetic: bool

    @property
    def margin(self) -> float:
        """Of the pair; not a number where nobody could rate it."""
        return math.nan if self.pair.margin is None else self.pair.margin


def read_examples(folders: Sequence[str], spec: TokenSpec, longest: int) -> list[Example]:
    """All edits of emotion and style that put something in.

    Args:
        folders: features with codes.
        spec: codebooks of the model.
        longest: units of the longest recording.

    Returns:
        In the order of the folders.

    Raises:
        ValueError: there are none, or a folder has codes of another tokenizer.
    """
    found = []
    wanted = {("emotion", label) for label in EMOTIONS} | {("style", label) for label in STYLES}
    for number, folder in enumerate(folders):
        features, codes = Features(folder), Codes(folder)
        if codes.spec != spec:
            raise ValueError(
                f"{folder} has codes of {codes.spec}, the model writes {spec}; make them with the "
                "model's own tokenizer (recipes.nano.codes)"
            )
        for pair in pairs_of(number, features, codes):
            label = (pair.edit.kind, pair.edit.label)
            units = max(codes.units(pair.before), codes.units(pair.after))
            if label not in wanted or units > longest:
                continue
            before, after = features.rows[pair.before], features.rows[pair.after]
            old, new = (f"{number}/{row['id']}" for row in (before, after))
            found.append(
                Example(
                    EditPair(pair.edit, old, new, pair.text, before["speaker"]),
                    codes.tokens(pair.before),
                    codes.tokens(pair.after),
                    before["path"],
                    after["path"],
                    before["lang"],
                    str(before["id"]).startswith("syn"),
                )
            )
    if not found:
        raise ValueError(f"there are no emotions or styles in {', '.join(map(str, folders))}")
    return found


def split(examples: Iterable[Example]) -> tuple[list[Example], list[Example]]:
    """Whom to learn from, and whom to ask afterwards.

    Args:
        examples: of all speakers.

    Returns:
        Those to learn from, and those of held-out speakers. An example of the others that says a
        held-out text is in neither.
    """
    learned: list[Example] = []
    kept: list[Example] = []
    for example in examples:
        (kept if _rank(example.pair.speaker) % 100 < _HELD_OUT else learned).append(example)
    texts = {_plain(example.pair.text) for example in kept}
    return [one for one in learned if _plain(one.pair.text) not in texts], kept


def with_margins(
    examples: Sequence[Example],
    scorer: MarginScorer,
    progress: Callable[[int, int], None] | None = None,
) -> list[Example]:
    """Rate what the scorer knows: emotions, for nobody rated styles.

    Args:
        examples: to be rated; their recordings are listened to.
        scorer: in evaluation mode.
        progress: told how many recordings were heard, and of how many.

    Returns:
        The same with margins.
    """
    sounds = {}
    for one in examples:
        sounds[one.pair.before], sounds[one.pair.after] = one.audio, one.changed
    utterances = [Utterance(name, path) for name, path in sounds.items()]
    rated = score_pairs([one.pair for one in examples], utterances, scorer, progress=progress)
    return [replace(one, pair=pair) for one, pair in zip(examples, rated, strict=True)]


def arms(examples: Iterable[Example], wanted: int) -> dict[str, list[Example]]:
    """Pairs of large and of small margin that differ in nothing else we can hold.

    Each label, and within it synthetic and real voices, gives both sets equally many: those it has
    of largest and those of smallest margin.

    Args:
        examples: with margins; those without are left out.
        wanted: of each set, about.

    Returns:
        ``"large"``, ``"small"``, and ``"both"`` together.
    """
    strata: dict[tuple[str, bool], list[Example]] = defaultdict(list)
    for one in examples:
        if not math.isnan(one.margin):
            strata[one.pair.category, one.synthetic].append(one)
    total = sum(map(len, strata.values()))
    large: list[Example] = []
    small: list[Example] = []
    for members in strata.values():
        ranked = sorted(members, key=lambda one: (one.margin, one.pair.after))
        count = min(len(ranked) // 2, math.ceil(wanted * len(ranked) / total))
        small += ranked[:count]
        large += ranked[len(ranked) - count :]
    return {"large": large, "small": small, "both": large + small}


def shuffled(examples: Iterable[Example], salt: str) -> list[Example]:
    """In an order that follows from their names and ``salt`` alone."""
    return sorted(examples, key=lambda one: _rank(f"{salt} {one.pair.after}"))


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())


def _rank(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
