"""The contract of a text tokenizer."""

from __future__ import annotations

from stepaudio.interfaces import TextTokenizer
from stepaudio.testing.rules import ConformanceError, demand, demand_refusal
from stepaudio.types import TokenSpec

__all__ = ["check_text_tokenizer"]

# What every prompt is made with.
_MARKS = ("<s>", "<|BOT|>", "<|EOT|>")
_TEXTS = ("see you tomorrow", "Wie geht's? 12 Äpfel!", "你好世界", "one line\nand another")
_NO_TOKEN = "<|no such token|>"


def check_text_tokenizer(tokenizer: TextTokenizer, tokens: TokenSpec) -> None:
    """Check an implementation of :class:`~stepaudio.interfaces.TextTokenizer`.

    Rules: ids lie in the vocabulary; the same text gives the same ids, and these give the text
    back; nothing is added, so that no text gives no ids; the marks of a prompt and every audio
    token are one id each, also between words; audio ids follow each other; tokens that are not in
    the vocabulary are refused with ``KeyError``.

    Args:
        tokenizer: the object to check.
        tokens: codebooks whose codes it shall name, those of the language model.

    Raises:
        ConformanceError: a rule is broken.
    """
    size = tokenizer.vocab_size
    demand(isinstance(size, int) and size > 0, f"vocab_size must be positive, got {size!r}")
    demand_refusal(
        lambda: tokenizer.token_id(_NO_TOKEN),
        f"token_id of {_NO_TOKEN!r} must be refused",
        (KeyError,),
    )
    ids = {mark: _token_id(tokenizer, mark) for mark in _MARKS}
    first = _token_id(tokenizer, "<audio_0>")
    demand(
        first + tokens.size <= size,
        f"{tokens.size} audio tokens from id {first} do not fit a vocabulary of {size}",
    )
    empty = _encode(tokenizer, "")
    demand(not empty, f"no text must give no ids, got {empty}")
    for text in _TEXTS:
        _check_round_trip(tokenizer, text)
    for mark, number in ids.items():
        found = _encode(tokenizer, mark)
        demand(found == [number], f"{mark} must be read as id {number} alone, got {found}")
    # One at a time would be thousands of calls; together they also show what is out of order.
    found = _encode(tokenizer, "".join(f"<audio_{k}>" for k in range(tokens.size)))
    demand(
        found == list(range(first, first + tokens.size)),
        f"<audio_0> to <audio_{tokens.size - 1}> must be read as the {tokens.size} ids from "
        f"{first} on, in order; got {len(found)} ids, {found[:3]} ... {found[-3:]}",
    )
    last = tokens.size - 1
    chat = f"<s><|BOT|> human\n{_TEXTS[0]}<audio_0><audio_{last}>\n<|EOT|><|BOT|> assistant\n"
    special = [number for number in _encode(tokenizer, chat) if number in {*ids.values(), first}]
    demand(
        special == [ids["<s>"], ids["<|BOT|>"], first, ids["<|EOT|>"], ids["<|BOT|>"]],
        f"marks and audio tokens must be read between words as they are alone, got {special}",
    )
    _check_round_trip(tokenizer, chat)


def _check_round_trip(tokenizer: TextTokenizer, text: str) -> None:
    ids = _encode(tokenizer, text)
    demand(_encode(tokenizer, text) == ids, f"encoding {text!r} twice must give the same ids")
    back = tokenizer.decode(ids)
    demand(back == text, f"decode must give back the text that was encoded: {back!r} for {text!r}")


def _encode(tokenizer: TextTokenizer, text: str) -> list[int]:
    ids = tokenizer.encode(text)
    demand(
        isinstance(ids, list) and all(isinstance(number, int) for number in ids),
        f"encode must return a list of int, got {type(ids)}",
    )
    wrong = [number for number in ids if not 0 <= number < tokenizer.vocab_size]
    demand(not wrong, f"ids {wrong[:3]} of {text[:40]!r} are not in 0..{tokenizer.vocab_size - 1}")
    return ids


def _token_id(tokenizer: TextTokenizer, token: str) -> int:
    try:
        return tokenizer.token_id(token)
    except KeyError:
        raise ConformanceError(f"the vocabulary must hold {token}") from None
