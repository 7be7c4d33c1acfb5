"""The phones of the recipe: the misaki alphabet without stress and length marks."""

from __future__ import annotations

__all__ = ["PHONES", "SILENCE", "UNKNOWN_PHONE", "phone_index"]

#: Index of silence, and what stands for a phone that nobody knows.
SILENCE, UNKNOWN_PHONE = 0, -1
#: Index 0 is silence; stress and length marks are dropped, rare symbols map to silence.
PHONES = ("_", *"AIOWYbdfhijklmnpstuvwzæðŋɐɑɔəɛɜɡɪɹɾʃʊʌʒʔʤʧθᵊᵻ")
_INDEX = {symbol: index for index, symbol in enumerate(PHONES)}
_ALIASES = {"ɚ": "ɹ", "e": "A", "o": "O", "a": "ɑ", "ɒ": "ɑ", "Q": "O", "r": "ɹ", "x": "k"}


def phone_index(symbol: str) -> int | None:
    """Index of one symbol of the front end; None for stress marks and punctuation."""
    return _INDEX.get(_ALIASES.get(symbol, symbol))
