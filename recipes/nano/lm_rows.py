"""Rows of tokens for the language model: edits, and words spoken in a given voice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from recipes.nano.codes import Codes
from recipes.nano.data.features import Features
from recipes.nano.data.words import Word, timed_words
from recipes.nano.guidance import EXACT, LETTERS, ROUGH, token_times
from recipes.nano.lm_pairs import SHORTEST, Pair, pairs_of, sentence
from recipes.nano.prefetch import Batch
from stepaudio.cutting import join_codes
from stepaudio.interfaces import TextTokenizer
from stepaudio.prompts import CLONE_SYSTEM, encode_clone_prompt, encode_edit_prompt, prompt_phrases
from stepaudio.tokenizers.interleave import interleave, to_text
from stepaudio.tokenizers.text import EOT, SentencePieceText
from stepaudio.tokenizers.text_training import train_text_tokenizer
from stepaudio.types import SpeechTokens

__all__ = ["Row", "Rows", "Stretch", "letter_times"]

TEXT_VOCABULARY = 1000
#: Seconds of a unit, and units of the longest recording taken whole.
UNIT, LONGEST = 0.12, 80
#: What times of a voice are set back by, so that its codes never look for letters of the answer.
APART = 1000.0
#: What is written between a voice's words and its codes.
AFTER_SAMPLE = CLONE_SYSTEM.partition("{prompt_text}")[2].partition("{prompt_wav_tokens}")[0]
#: Units of the shortest and of the longest voice that words are spoken in; short ones are
#: likelier, since what is learned from a voice is in its first seconds.
VOICE = 12, 110
#: Recordings are joined until at most so many units are missing from the length asked for.
MISSING = 12
#: Batches drawn together, to be parted by length: rows of all lengths at once left a third of the
#: positions to padding.
SORTED = 3
#: Largest share of the codes said so far that are replaced. Where an edit goes on from its own
#: slips, a model that has only read recordings loses the words.
SLIPS = 0.15
#: Languages that are written without spaces.
UNSPACED = ("zh", "ja")

Place = tuple[int, int]


@dataclass(frozen=True)
class Row:
    """One conversation.

    Attributes:
        ids: prompt, target and end.
        begin: where the target begins.
        learned: ``[J]`` positions of the codes that are learned: those of the target, and before
            them those of a voice, which say the words that the prompt has just named.
        times: ``[begin]`` when each position of the prompt is heard or spoken, in units; infinite
            where it must not be looked at.
        wanted: ``[J]`` the time each learned code renders; not a number if unknown.
        width: tolerance of the place looked at, in units.
    """

    ids: list[int]
    begin: int
    learned: Tensor
    times: Tensor
    wanted: Tensor
    width: float


@dataclass(frozen=True)
class Passage:
    """A pair of recordings, or a stretch of both, before and after an edit.

    Attributes:
        source: codes before.
        target: codes after.
        text: words before; empty where the prompt has none.
        wanted: ``[J]`` the moment of the source that each token of the target renders, in units.
    """

    source: SpeechTokens
    target: SpeechTokens
    text: str
    wanted: Tensor


@dataclass(frozen=True)
class Stretch:
    """Part of a recording: units, its words, and those in time from its beginning, if known."""

    start: int
    units: int
    text: str
    words: tuple[Word, ...]


class Rows:
    """Token rows of some feature folders.

    Args:
        folders: with features and codes.
        speech: share of the rows that speak words in a given voice.
        text: vocabulary of the model that goes on; learned from the texts if there is none.
        without: kinds of edits that are not learned, such as those that the finished model makes
            on the recording itself.

    Raises:
        ValueError: nothing to draw from, or the vocabulary has other codebooks.
    """

    def __init__(
        self,
        folders: Sequence[str],
        speech: float,
        text: SentencePieceText | None = None,
        without: Collection[str] = (),
    ) -> None:
        self.features = [Features(f) for f in folders]
        self.codes = [Codes(f) for f in folders]
        self.pairs = [
            p
            for n, (f, c) in enumerate(zip(self.features, self.codes, strict=True))
            for p in pairs_of(n, f, c)
            if p.edit.kind not in without
        ]
        self.voices = self._voices()
        self.spoken = [place for places in self.voices.values() for place in places]
        if not self.pairs or (speech and not self.spoken):
            kind = "pairs of edits" if not self.pairs else "two recordings of one speaker"
            raise ValueError(f"there are no {kind} in {', '.join(map(str, folders))}")
        self.speech = speech
        self.spec = self.codes[0].spec
        self.text = self._vocabulary() if text is None else text
        if self.text.vocab_size - self.text.audio_offset != self.spec.size:
            raise ValueError(
                f"the vocabulary has {self.text.vocab_size - self.text.audio_offset} codes, "
                f"{folders[0]} {self.spec.size}: start from a model of the same tokenizers"
            )
        self.end = self.text.token_id(EOT)
        self.weight = self._shares([(p.folder, p.before) for p in self.pairs])
        self.mates: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for number, pair in enumerate(self.pairs):
            if pair.croppable:
                self.mates[self._kind(pair)].append(number)
        self.spoken_weight = self._shares(self.spoken)

    def _vocabulary(self) -> SentencePieceText:
        texts = {t for p in self.pairs for t in (p.text, p.edit.text)}
        texts |= {sentence(self._row(place)["text"]) for place in self.spoken}
        return train_text_tokenizer(
            sorted(texts - {""}),
            TEXT_VOCABULARY + self.spec.size,
            audio_tokens=self.spec.size,
            phrases=prompt_phrases(),
        )

    def draw(self, rng: np.random.Generator, longest: int) -> Row:
        """One row, of a source, or words to be spoken, no longer than ``longest`` units."""
        if rng.random() < self.speech:
            return self.draw_speech(rng, longest)
        return self.draw_edit(rng, longest)

    def draw_edit(self, rng: np.random.Generator, longest: int) -> Row:
        """An edit of a source that has any length, up to ``longest`` units, as likely as any other.

        Half of the recordings are shorter than four seconds: a model that saw them as they are
        loses its place in longer ones. So a recording is cut to the length, or others of the same
        speaker and edit are said after it. One whose times are not known is taken whole.
        """
        first, passages = self._passages(rng, int(rng.integers(min(MISSING, longest), longest + 1)))
        space = "" if self._row((first.folder, first.before))["lang"] in UNSPACED else " "
        source = join_codes([p.source for p in passages])
        target = join_codes([p.target for p in passages])
        text = space.join(p.text for p in passages)
        starts = np.cumsum([0, *(p.source.num_units for p in passages)])
        wanted = torch.cat([p.wanted + int(n) for p, n in zip(passages, starts, strict=False)])
        prompt = encode_edit_prompt(self.text, first.edit, to_text(source), text)
        answer = interleave(target, offset=self.text.audio_offset).tolist()
        times = torch.full((len(prompt),), torch.inf)
        begin = next(n for n, i in enumerate(prompt) if i >= self.text.audio_offset)
        count = 5 * source.num_units
        times[begin : begin + count] = token_times(torch.arange(count))
        width = ROUGH if self._synthetic((first.folder, first.before)) else EXACT
        learned = torch.arange(len(answer)) + len(prompt)
        return Row([*prompt, *answer, self.end], len(prompt), learned, times, wanted, width)

    def _passages(self, rng: np.random.Generator, goal: int) -> tuple[Pair, list[Passage]]:
        """A drawn pair, and what is said in its row: itself and as many mates as are missing."""
        passage = None
        while passage is None:
            first = self.pairs[int(rng.choice(len(self.pairs), p=self.weight))]
            passage = self._passage(first, rng, goal)
        passages, missing = [passage], goal - passage.source.num_units
        if missing <= MISSING or not first.croppable:
            return first, passages
        for number in rng.permutation(self.mates[self._kind(first)]).tolist():
            mate = self.pairs[number]
            passage = None if mate is first else self._passage(mate, rng, missing)
            if passage is not None:
                passages.append(passage)
                missing -= passage.source.num_units
            if missing <= MISSING:
                break
        return first, passages

    def _passage(self, pair: Pair, rng: np.random.Generator, longest: int) -> Passage | None:
        """A pair, or a stretch of it of at most ``longest`` units; None if it will not be cut."""
        codes = self.codes[pair.folder]
        before, after, text = codes.units(pair.before), codes.units(pair.after), pair.text
        start, units, target_start, target_units = 0, before, 0, after
        if pair.croppable and before > longest:
            units = int(rng.integers(max(SHORTEST, longest // 2), longest + 1))
            start = int(rng.integers(0, before - units + 1))
            assert pair.line is not None
            ends = pair.line.to_row([start * UNIT, (start + units) * UNIT]) / UNIT
            target_start = round(float(ends[0]))
            target_units = min(after, round(float(ends[1]))) - target_start
            text = text and self._words_between((pair.folder, pair.before), start, units)
            if target_units < 2 or (pair.text and not text):
                return None
        elif max(before, after) > LONGEST and not pair.croppable:
            return None
        source = codes.tokens(pair.before, start, units)
        target = codes.tokens(pair.after, target_start, target_units)
        wanted = torch.full((5 * target.num_units,), torch.nan)
        if pair.line is not None:
            said = token_times(torch.arange(len(wanted))).double() + target_start
            heard = pair.line.to_source((said * UNIT).numpy()) / UNIT - start
            wanted = torch.from_numpy(heard).float()
        return Passage(source, target, text, wanted)

    def _kind(self, pair: Pair) -> tuple[object, ...]:
        """What recordings share that can be said one after the other before the same edit."""
        before, after = (self._row((pair.folder, item)) for item in (pair.before, pair.after))
        return (
            pair.folder, pair.edit, before["speaker"], before["lang"],
            before["change"], after["change"], bool(pair.text),
        )  # fmt: skip

    def draw_speech(self, rng: np.random.Generator, longest: int) -> Row:
        """Words to be spoken in the voice of another recording (paper, zero-shot speech)."""
        while True:
            place = self.spoken[int(rng.choice(len(self.spoken), p=self.spoken_weight))]
            row = self._row(place)
            mates = self.voices[row["speaker"], row["lang"]]
            voice = mates[int(rng.integers(len(mates)))]
            if voice == place or self._row(voice)["text"] == row["text"]:
                continue
            said = self._stretch(place, rng, longest)
            least, most = VOICE
            more = max(0, min(most, 2 * longest) - least)
            sample = self._stretch(voice, rng, least + round(more * rng.random() ** 3))
            if said is None or sample is None:
                continue
            target = self.codes[place[0]].tokens(place[1], said.start, said.units)
            source = self.codes[voice[0]].tokens(voice[1], sample.start, sample.units)
            prompt = encode_clone_prompt(self.text, said.text, sample.text, to_text(source))
            answer = interleave(target, offset=self.text.audio_offset).tolist()
            ids = [*prompt, *answer, self.end]
            # The voice comes after its own words, as the answer after what it shall say: the same
            # lesson twice in a row of one length.
            first = next(n for n, i in enumerate(prompt) if i >= self.text.audio_offset)
            last = first + 5 * source.num_units
            learned = torch.cat(
                [torch.arange(first, last), torch.arange(len(prompt), len(ids) - 1)]
            )
            wanted = torch.cat([spoken_times(sample) - APART, spoken_times(said)])
            times = torch.full((len(prompt),), torch.inf)
            times[:first] = letter_times(self.text, prompt[:first], sample, AFTER_SAMPLE) - APART
            end = max(n for n, i in enumerate(prompt) if i == self.end)
            times[last:end] = letter_times(self.text, prompt[last:end], said)
            return Row(ids, len(prompt), learned, times, wanted, LETTERS)

    def alike(self, rng: np.random.Generator, longest: int, tokens: int) -> list[Row]:
        """Rows of about one length that fill ``tokens`` positions, the longest first.

        Args:
            rng: source of everything.
            longest: of a source, in units.
            tokens: positions of a step.

        Returns:
            The rows, at least one.
        """
        pool: list[Row] = []
        while sum(len(row.ids) for row in pool) < SORTED * tokens:
            pool.append(self.draw(rng, longest))
        pool.sort(key=lambda row: len(row.ids), reverse=True)
        groups: list[list[Row]] = []
        for row in pool:
            if groups and len(groups[-1][0].ids) * (len(groups[-1]) + 1) <= tokens:
                groups[-1].append(row)
            else:
                groups.append([row])
        return groups[int(rng.integers(len(groups)))]

    def batch(self, rng: np.random.Generator, longest: int, tokens: int) -> Batch:
        """Rows of about one length that fill ``tokens`` positions, padding included.

        Args:
            rng: source of everything.
            longest: of a source, in units.
            tokens: positions of a step.

        Returns:
            ``ids`` ``[B, T + 1]``, padded at the end, with slips in what the assistant has said.
            ``places`` among the ``B * T`` positions that predict what is learned (codes, and the
            end), and the ``targets`` they predict, ``[N]``. What
            :func:`recipes.nano.guidance.misplaced` reads: ``asked`` and ``wanted`` ``[B, J]``,
            ``times`` ``[B, T]`` and ``width`` ``[B]``.
        """
        drawn = self.alike(rng, longest, tokens)
        width = len(drawn[0].ids)
        learned = [F.pad(row.learned, (0, 1), value=len(row.ids) - 1) for row in drawn]
        places = [n - 1 + line * (width - 1) for line, n in enumerate(learned)]
        targets = [torch.tensor(row.ids)[n] for row, n in zip(drawn, learned, strict=True)]
        times = torch.full((len(drawn), width - 1), torch.inf)
        for line, row in enumerate(drawn):
            times[line, : row.begin] = row.times
        return {
            "ids": pad_sequence([self._with_slips(row, rng) for row in drawn], batch_first=True),
            "places": torch.cat(places),
            "targets": torch.cat(targets),
            "asked": pad_sequence(
                [row.learned - 1 for row in drawn], batch_first=True, padding_value=-1
            ),
            "wanted": pad_sequence(
                [row.wanted for row in drawn], batch_first=True, padding_value=torch.nan
            ),
            "times": times,
            "width": torch.tensor([row.width for row in drawn]),
        }

    def _with_slips(self, row: Row, rng: np.random.Generator) -> Tensor:
        """``[T]`` ids; some codes of the answer are others of their codebook."""
        ids = np.asarray(row.ids)
        code = ids - self.text.audio_offset
        slips = rng.random(len(ids)) < rng.uniform(0, SLIPS)
        slips &= (np.arange(len(ids)) >= row.begin) & (code >= 0)
        first = code < self.spec.linguistic_size
        others = np.where(
            first,
            rng.integers(self.spec.linguistic_size, size=len(ids)),
            self.spec.linguistic_size + rng.integers(self.spec.semantic_size, size=len(ids)),
        )
        return torch.from_numpy(np.where(slips, others + self.text.audio_offset, ids))

    def _row(self, place: Place) -> dict[str, Any]:
        row: dict[str, Any] = self.features[place[0]].rows[place[1]]
        return row

    def _synthetic(self, place: Place) -> bool:
        """Whether nobody ever said it."""
        return str(self._row(place)["id"]).startswith("syn")

    def _shares(self, places: Sequence[Place]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """How often each is drawn: real voices, which the model will meet, two times in three."""
        real = np.asarray([not self._synthetic(place) for place in places], dtype=bool)
        weight = np.where(real, 2.0 / max(1, real.sum()), 1.0 / max(1, (~real).sum()))
        shares: np.ndarray[Any, np.dtype[np.float64]] = weight / max(weight.sum(), 1e-9)
        return shares

    def _voices(self) -> dict[tuple[str, str], list[Place]]:
        """Unchanged recordings by speaker and language, where there are at least two texts.

        Not those that were cut to pieces: a piece as the voice would say the words to be spoken.
        """
        found: dict[tuple[str, str], list[Place]] = defaultdict(list)
        for folder, (features, codes) in enumerate(zip(self.features, self.codes, strict=True)):
            cut = {row["id"].rpartition(".")[0] for row in features.rows}
            for item, row in enumerate(features.rows):
                most = np.inf if self._timed((folder, item)) else LONGEST
                usable = row["change"] == "none" and row["text"] and row["id"] not in cut
                if usable and SHORTEST <= codes.units(item) <= most:
                    found[row["speaker"], row["lang"]].append((folder, item))
        return {
            who: places
            for who, places in found.items()
            if len({self._row(place)["text"] for place in places}) > 1
        }

    def _timed(self, place: Place) -> list[Word]:
        labels = self._row(place)["labels"] or {}
        if "words" not in labels or "phones" not in labels:
            return []
        return timed_words(labels["phones"], labels["words"])

    def _words_between(self, place: Place, start: int, units: int) -> str:
        """Words of a stretch: those whose middle is inside; in proportion where nobody knows."""
        words, row = self._timed(place), self._row(place)
        if words:
            inside = [
                word.text
                for word in words
                if start <= (word.start + word.end) / 2 / UNIT < start + units
            ]
            return sentence(" ".join(inside))
        unspaced = row["lang"] in UNSPACED
        parts = list(sentence(row["text"])) if unspaced else sentence(row["text"]).split()
        whole = self.codes[place[0]].units(place[1])
        first, last = (round(len(parts) * x / whole) for x in (start, start + units))
        return ("" if unspaced else " ").join(parts[first : max(last, first + 1)])

    def _stretch(self, place: Place, rng: np.random.Generator, longest: int) -> Stretch | None:
        """Some words of a recording, as many as fit; None if the drawn one does not.

        A recording whose words have no times is taken whole, whatever its length.
        """
        whole, words = self.codes[place[0]].units(place[1]), self._timed(place)
        if not words:
            return Stretch(0, whole, sentence(self._row(place)["text"]), ())
        first = int(rng.integers(len(words))) if whole > longest else 0
        start = int(words[first].start / UNIT)
        last = max(
            (n for n in range(first, len(words)) if words[n].end / UNIT <= start + longest),
            default=-1,
        )
        if last < first:
            return None
        end = min(whole, int(np.ceil(words[last].end / UNIT)))
        if end - start < 2:
            return None
        moved = tuple(
            Word(w.text, *(t - start * UNIT for t in (w.start, w.end, w.first_end, w.last_start)))
            for w in words[first : last + 1]
        )
        return Stretch(start, end - start, sentence(" ".join(w.text for w in moved)), moved)


def spoken_times(said: Stretch) -> Tensor:
    """``[J]`` when each code sounds, in units; not a number if the words have no times."""
    count = 5 * said.units
    if not said.words:
        return torch.full((count,), torch.nan)
    return token_times(torch.arange(count)).float()


def letter_times(text: TextTokenizer, ids: Sequence[int], said: Stretch, after: str = "") -> Tensor:
    """When the words of a stretch are spoken, for the positions where they are written.

    Args:
        text: made the ids.
        ids: of a text that ends with the words.
        said: the words with their times.
        after: what comes after the words all the same.

    Returns:
        ``[T]`` units; infinite for what is not one of the words, and where times are unknown.
    """
    times = torch.full((len(ids),), torch.inf)
    if not said.words:
        return times
    # Decoding drops one leading space, so the words are counted from their end.
    lengths = [len(text.decode(ids[:n])) for n in range(len(ids) + 1)]
    end = lengths[-1] - len(after)
    begin = end - len(said.text)
    letters, moments, at = [], [], begin
    for word in said.words:
        letters += [at, at + len(word.text)]
        moments += [word.start / UNIT, word.end / UNIT]
        at += len(word.text) + 1
    for n, (a, b) in enumerate(pairwise(lengths)):
        if begin <= a < end and b > a:
            times[n] = float(np.interp((a + b) / 2, letters, moments))
    return times
