"""Chat rows of token ids, as the trainers read them: ``{"prompt": [ids], "completion": [ids]}``.

The prompts are those of :mod:`stepaudio.prompts`; a completion ends with the mark of the end of a
turn, which is a token like any other to be learned. Loss is on the completion only (EditX, SFT).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stepaudio.data.manifest import read_jsonl, write_jsonl
from stepaudio.data.pairs import EditPair
from stepaudio.errors import DataError
from stepaudio.interfaces import TextTokenizer
from stepaudio.prompts import (
    Layout,
    encode_clone_prompt,
    encode_edit_prompt,
    encode_text_prompt,
)
from stepaudio.tokenizers.interleave import interleave, to_text
from stepaudio.tokenizers.text import EOT
from stepaudio.types import SpeechTokens

__all__ = [
    "ChatRow",
    "answer_ids",
    "clone_row",
    "edit_row",
    "edit_rows",
    "ids_of",
    "read_texts",
    "text_row",
    "write_rows",
]


@dataclass(frozen=True)
class ChatRow:
    """One conversation.

    Attributes:
        prompt: ids up to the opening of the assistant's turn.
        completion: ids of the assistant's turn with its end.

    Raises:
        DataError: one of them is empty, or an id is negative.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.prompt or not self.completion:
            raise DataError("a row needs a prompt and a completion, and neither may be empty")
        if min(*self.prompt, *self.completion) < 0:
            raise DataError("a row holds a negative id")

    def __len__(self) -> int:
        """Ids of both."""
        return len(self.prompt) + len(self.completion)


def answer_ids(text: TextTokenizer, tokens: SpeechTokens) -> tuple[int, ...]:
    """What the assistant says: audio ids and the end of the turn.

    Args:
        text: the model's text tokenizer.
        tokens: of the recording that is wanted.

    Returns:
        ``5 U + 1`` ids.
    """
    audio = interleave(tokens, offset=text.token_id("<audio_0>")).tolist()
    return (*audio, text.token_id(EOT))


def edit_row(
    text: TextTokenizer,
    pair: EditPair,
    before: SpeechTokens,
    after: SpeechTokens,
    *,
    layout: Layout = "v2",
) -> ChatRow:
    """A row that teaches an edit.

    Args:
        text: the model's text tokenizer.
        pair: the edit and the words.
        before: codes of the recording that is edited.
        after: codes of the recording that is wanted.
        layout: of the prompt.

    Returns:
        The row.

    Raises:
        EditError: the edit needs words and the pair has none.
        PromptError: the words hold special tokens, or there is no audio.
    """
    prompt = encode_edit_prompt(text, pair.edit, to_text(before), pair.text, layout=layout)
    return ChatRow(tuple(prompt), answer_ids(text, after))


def clone_row(
    text: TextTokenizer,
    words: str,
    tokens: SpeechTokens,
    voice_words: str,
    voice: SpeechTokens,
    *,
    layout: Layout = "v2",
) -> ChatRow:
    """A row that teaches zero-shot speech: another recording of the speaker is the prompt.

    Args:
        text: the model's text tokenizer.
        words: to say.
        tokens: codes of the recording that says them.
        voice_words: of the prompt recording.
        voice: codes of the prompt recording.
        layout: of the prompt.

    Returns:
        The row.

    Raises:
        PromptError: nothing to say, special tokens among the words, or no audio.
    """
    prompt = encode_clone_prompt(text, words, voice_words, to_text(voice), layout=layout)
    return ChatRow(tuple(prompt), answer_ids(text, tokens))


def text_row(text: TextTokenizer, question: str, answer: str) -> ChatRow:
    """A row of text alone, so that a model that learns to speak does not forget to read.

    Args:
        text: the model's text tokenizer.
        question: the user's turn.
        answer: the assistant's turn.

    Returns:
        The row.

    Raises:
        PromptError: no question, or special tokens in it.
        DataError: no answer, or it holds a special token.
    """
    prompt = encode_text_prompt(text, question)
    # A line end comes before it in the prompt: encoded together, it gets no space in front.
    line = text.encode("\n")
    ids = text.encode("\n" + answer)[len(line) :]
    end = text.token_id(EOT)
    if not answer.strip() or end in ids:
        raise DataError(f"the answer {answer[:40]!r} is empty or ends a turn by itself")
    return ChatRow(tuple(prompt), (*ids, end))


def edit_rows(
    text: TextTokenizer,
    pairs: Iterable[EditPair],
    codes: Mapping[str, SpeechTokens],
    *,
    longest: int | None = None,
    layout: Layout = "v2",
) -> tuple[list[ChatRow], dict[str, int]]:
    """Rows of all pairs whose recordings have codes.

    Args:
        text: the model's text tokenizer.
        pairs: of a corpus.
        codes: of its recordings, such as :class:`stepaudio.data.shards.TokenShards`.
        longest: ids of a row at most; None for any length.
        layout: of the prompts.

    Returns:
        The rows, and how many pairs were ``"kept"``, had ``"no codes"`` or were ``"too long"``.
    """
    rows = []
    counts = {"kept": 0, "no codes": 0, "too long": 0}
    for pair in pairs:
        if pair.before not in codes or pair.after not in codes:
            counts["no codes"] += 1
            continue
        row = edit_row(text, pair, codes[pair.before], codes[pair.after], layout=layout)
        if longest is not None and len(row) > longest:
            counts["too long"] += 1
            continue
        counts["kept"] += 1
        rows.append(row)
    return rows, counts


def write_rows(path: str | Path, rows: Iterable[ChatRow], *, force: bool = False) -> Path:
    """Write rows, one JSON object per line.

    Args:
        path: the file.
        rows: in the order of the lines.
        force: allow replacing an existing file.

    Returns:
        ``path``.

    Raises:
        OutputExistsError: the file exists and ``force`` is False.
    """
    return write_jsonl(path, map(vars, rows), force=force)


def read_texts(path: str | Path) -> list[tuple[str, str]]:
    """Read questions and answers for :func:`text_row`.

    Args:
        path: JSONL with the texts ``prompt`` and ``completion`` in each line.

    Returns:
        The pairs.

    Raises:
        DataError: the file is missing or a line is malformed; the message names it.
    """
    pairs = []
    for number, row in read_jsonl(path):
        question, answer = row.get("prompt"), row.get("completion")
        if not isinstance(question, str) or not isinstance(answer, str):
            raise DataError(f"{path}:{number}: 'prompt' and 'completion' must be texts")
        pairs.append((question, answer))
    return pairs


def ids_of(row: Mapping[str, object], name: str) -> tuple[int, ...]:
    """One column of ids of a line of JSON.

    Args:
        row: the line.
        name: of the column.

    Returns:
        The ids.

    Raises:
        DataError: it is missing or no list of whole numbers.
    """
    value = row.get(name)
    if not isinstance(value, list) or not all(type(one) is int for one in value):
        raise DataError(f"{name!r} must be a list of ids")
    return tuple(value)
