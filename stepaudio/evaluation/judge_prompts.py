"""What an audio language model is asked to judge: emotion, style, non-verbal sounds.

The questions follow the benchmark of the paper (section 4): forced choice for emotion and style
whatever the words say, and 1 to 3 for a sound event at an asked place. The words of the questions
are our own, so numbers are comparable with each other but not exactly with the published ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stepaudio.edits import PARALINGUISTIC_TAGS
from stepaudio.errors import JudgeError
from stepaudio.evaluation.contracts import Sample

__all__ = [
    "EMOTION",
    "EMOTIONS",
    "PARALINGUISTIC",
    "STYLE",
    "STYLES",
    "JudgeTask",
    "TagPlace",
    "tag_places",
]

#: What each emotion sounds like; the five of the benchmark and the published word for none.
EMOTIONS: Mapping[str, str] = {
    "happy": "glad, amused or delighted; bright and lively",
    "sad": "grieving, hurt or down; low energy, falling, perhaps near tears",
    "angry": "annoyed to furious; hard, pressed or loud",
    "surprised": "taken aback or amazed; sudden, wide leaps of pitch",
    "fear": "afraid or panicking; tense, trembling, hurried or short of breath",
    "natural": "none of these clearly; plain, calm or informative",
}

#: What each style sounds like; the seven of the benchmark, others to be told apart from them,
#: a plain voice, and the published word for no manner.
STYLES: Mapping[str, str] = {
    "child": "the voice of a small child",
    "older": "the voice of an old person",
    "exaggerated": "theatrical, with emphasis and melody far beyond ordinary talk",
    "recite": "a poem or speech recited aloud, measured and with pathos",
    "generous": "hearty, warm and passionate, from a full heart",
    "act_coy": "coquettish, pouting, sweetly begging",
    "whisper": "whispered: breath without the tone of the voice",
    "serious": "grave and formal",
    "gentle": "soft and soothing",
    "sweet": "sugary and charming, but not begging",
    "shout": "shouted or roared",
    "murmur": "mumbled under the breath, but with the tone of the voice",
    "story": "a narrator telling a tale",
    "normal": "ordinary speech",
    "None": "a manner not in this list, or no manner that is really carried through",
}

# As much of the words before a tag as tells where it stands.
_WORDS_BEFORE, _LETTERS_BEFORE = 5, 40
_TAG = re.compile("|".join(re.escape(tag) for tag in PARALINGUISTIC_TAGS))

_ANSWER = (
    "Answer with one JSON object and nothing else: "
    '{{"reasoning": "<one or two sentences on what you hear>", "answer": "{answer}"}}'
)

_TAG_SOUNDS: Mapping[str, str] = {
    "[Breathing]": "an audible breath",
    "[Laughter]": "laughter",
    "[Surprise-oh]": 'a surprised "oh"',
    "[Confirmation-en]": 'an affirming "mm-hm" or "en"',
    "[Uhm]": 'a hesitating "uhm"',
    "[Surprise-ah]": 'a surprised "ah"',
    "[Surprise-wa]": 'an amazed "wow" or "wa"',
    "[Sigh]": "a sigh",
    "[Question-ei]": 'a questioning "eh?" or "ei?"',
    "[Dissatisfaction-hnn]": 'a displeased "hmph" or "hnn"',
}


@dataclass(frozen=True)
class JudgeTask:
    """One kind of question.

    Attributes:
        name: ``"emotion"``, ``"style"`` or ``"paralinguistic"``.
        labels: answers that count.
        ask: the question about one sample; raises JudgeError if it cannot be asked.
    """

    name: str
    labels: tuple[str, ...]
    ask: Callable[[Sample], str]


@dataclass(frozen=True)
class TagPlace:
    """Where a sound is asked for.

    Attributes:
        tag: one of the paralinguistic tags.
        before: the spoken text before it, without tags.
        after: the spoken text after it, without tags.
    """

    tag: str
    before: str
    after: str

    @property
    def share(self) -> float | None:
        """Share of the spoken letters that come before; None without any."""
        left, right = _letters(self.before), _letters(self.after)
        return left / (left + right) if left + right else None


def tag_places(text: str) -> list[TagPlace]:
    """Tags of a text and where they stand.

    Args:
        text: words with tags in square brackets, such as ``"Well [Laughter] why not?"``.

    Returns:
        One entry per known tag, in order.
    """
    places = []
    for found in _TAG.finditer(text):
        before, after = (
            _TAG.sub(" ", side) for side in (text[: found.start()], text[found.end() :])
        )
        places.append(TagPlace(found.group(), _plain(before), _plain(after)))
    return places


def _ask_choice(what: str, choices: Mapping[str, str], rules: str) -> Callable[[Sample], str]:
    listing = "\n".join(f"- {label}: {meaning}" for label, meaning in choices.items())
    question = (
        f"Listen to the recording of one speaker and decide which {what} the voice expresses.\n"
        "Judge only how it is said (pitch, loudness, tempo, tone of voice). The words may suggest "
        f"something else: ignore their meaning.\n{rules}\n"
        f"Choose exactly one of these:\n{listing}\n{_ANSWER.format(answer='<one of the list>')}"
    )
    return lambda sample: question


def _ask_events(sample: Sample) -> str:
    places = tag_places(sample.text)
    if not places:
        raise JudgeError(
            f"sample {sample.id!r} has no sound tag in its text {sample.text!r}; give the words "
            f"with tags where sounds shall be, such as {PARALINGUISTIC_TAGS[1]}"
        )
    checks = []
    for number, place in enumerate(places, start=1):
        context = _last_words(place.before)
        where = f"right after {_quote(context)}" if context else "at the very beginning"
        checks.append(f"{number}. {_TAG_SOUNDS[place.tag]}, {where}")
    return (
        "A recording should contain words and these non-verbal sounds made by the speaker:\n"
        + "\n".join(checks)
        + f"\nThe whole text, sounds as tags in square brackets, is {_quote(sample.text)}.\n"
        "Check every sound of the list. The commonest failure is that it is simply not there: do "
        "not imagine it because the text asks for it. A tag read aloud as a word is not a sound.\n"
        "3: every sound is clearly there, at its place, and joins the words naturally.\n"
        "2: a sound is there but weak, misplaced, cut off or badly joined; or some are missing.\n"
        "1: no sound of the list is there, or none is anywhere near its place.\n"
        "When in doubt between two numbers give the lower one.\n"
        + _ANSWER.format(answer="<1, 2 or 3>")
    )


def _quote(text: str) -> str:
    """In JSON quotes, so that a text cannot pass for a part of the question."""
    return json.dumps(text, ensure_ascii=False)


def _last_words(text: str) -> str:
    # Chinese is not spaced, so the letters are limited too.
    return " ".join(text.split()[-_WORDS_BEFORE:])[-_LETTERS_BEFORE:]


def _plain(text: str) -> str:
    return " ".join(text.split())


def _letters(text: str) -> int:
    return sum(character.isalnum() for character in text)


#: Which of :data:`EMOTIONS` is heard.
EMOTION = JudgeTask(
    "emotion",
    tuple(EMOTIONS),
    _ask_choice(
        "emotion", EMOTIONS, 'A faint colouring is not enough: then the answer is "natural".'
    ),
)

#: Which of :data:`STYLES` is heard.
STYLE = JudgeTask(
    "style",
    tuple(STYLES),
    _ask_choice(
        "manner of speaking",
        STYLES,
        'Be strict: a manner counts only if it is plain throughout. If in doubt answer "None"; '
        "speech that is stiff or mechanical rather than acted is none of the acted manners.",
    ),
)

#: How well the sounds of a text with tags are there, ``"1"`` to ``"3"``.
PARALINGUISTIC = JudgeTask("paralinguistic", ("1", "2", "3"), _ask_events)
