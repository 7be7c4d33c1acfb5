"""Training a small text vocabulary by the conventions of the published one.

The unigram pieces are learned by the ``tokenizers`` library; around them the ids are laid out as
in the published file: ``<unk>``, ``<s>``, ``</s>``, ``<|EOT|>``, ``<|BOT|>`` first, then further
literal tokens, the 256 bytes, the learned pieces, and the audio tokens last.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from stepaudio.errors import TokenError
from stepaudio.tokenizers.text import BOS, BOT, EOS, EOT, SPACE, UNK, SentencePieceText

__all__ = ["train_text_tokenizer"]

#: Fewest learned pieces that make a vocabulary.
SMALLEST = 4


def train_text_tokenizer(
    lines: Iterable[str],
    vocab_size: int,
    *,
    audio_tokens: int,
    special_tokens: Sequence[str] = (),
    phrases: Sequence[str] = (),
) -> SentencePieceText:
    """Learn a vocabulary from text.

    As in the published vocabulary, pieces never cross a space, digits stay single, nothing is
    normalised, and characters without a piece fall back to UTF-8 bytes. Characters make up at
    most half of the pieces, the most frequent ones first.

    Args:
        lines: training text.
        vocab_size: number of ids at most, audio included; a small corpus may fill fewer.
        audio_tokens: number of ``<audio_k>`` tokens, the last ids.
        special_tokens: further control tokens, right after ``<|BOT|>``.
        phrases: fixed texts that shall cost one id each wherever they occur, such as the
            instruction templates of a prompt. A phrase should not end with a space: the word
            after it would lose its leading ``▁`` and with it its usual pieces.

    Returns:
        The tokenizer.

    Raises:
        TokenError: no training text, a literal is empty or stands twice, or ``vocab_size`` leaves
            no room for pieces.
    """
    literals = [UNK, BOS, EOS, EOT, BOT, *special_tokens, *phrases]
    if "" in literals or len(set(literals)) != len(literals):
        twice = sorted({text for text in literals if literals.count(text) > 1})
        raise TokenError(f"special tokens and phrases must be different and not empty: {twice}")
    if audio_tokens < 1:
        raise TokenError(f"a text tokenizer needs at least one audio token, not {audio_tokens}")
    fixed = [*literals, *(f"<0x{byte:02X}>" for byte in range(256))]
    room = vocab_size - len(fixed) - audio_tokens
    if room < SMALLEST:
        raise TokenError(
            f"vocab_size {vocab_size} leaves no room for text pieces: {len(fixed)} special, phrase "
            f"and byte tokens and {audio_tokens} audio tokens come first"
        )
    learned = _learn(_plain(lines, literals), room)
    likeliest = [piece for piece in learned if piece[0] not in fixed][:room]
    vocabulary = [(text, 0.0) for text in fixed]
    # The trainer orders equally likely pieces at random; by spelling, equal corpora get equal ids.
    vocabulary += sorted(likeliest)
    audio = [f"<audio_{k}>" for k in range(audio_tokens)]
    vocabulary += [(text, 0.0) for text in audio]
    return SentencePieceText.from_vocabulary(vocabulary, [*literals, *audio])


def _plain(lines: Iterable[str], literals: Sequence[str]) -> Iterator[str]:
    """The text between the literal tokens, which the unigram model will never see whole."""
    pattern = "|".join(re.escape(text) for text in sorted(literals, key=len, reverse=True))
    splitter = re.compile(f"{pattern}|<audio_[0-9]+>|[\\r\\n]")
    for line in lines:
        yield from (part for part in splitter.split(line) if part.strip())


def _learn(texts: Iterable[str], size: int) -> list[tuple[str, float]]:
    """Pieces and log-probabilities, likeliest first."""
    texts = list(texts)
    characters = Counter(character for text in texts for character in text)
    if not characters:
        raise TokenError("there is no text to train a text tokenizer on")
    # Every character left in the text becomes a piece; the rare ones of a large script may not
    # crowd out the words and stay bytes.
    rare = {ord(character): " " for character, _ in characters.most_common()[size // 2 :]}
    texts = [text.translate(rare) for text in texts]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always", split=True),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=size + 1, special_tokens=[UNK], unk_token=UNK, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    learned = [
        (str(text), float(score))
        for text, score in json.loads(tokenizer.to_str())["model"]["vocab"]
        if text != UNK
    ]
    return sorted(learned, key=lambda piece: -piece[1])
