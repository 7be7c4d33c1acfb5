"""Rows of several kinds in fixed shares of tokens, such as text and audio 1:1 (EditX, section 2.2).

Rows of sound are far longer than rows of text, so drawing rows one by one would give another mix
than the one meant. Here the next row always comes from the kind that lags behind most; the shares
are then never wrong by more than one row. Order and position follow from a seed and a few counts.
:func:`one_to_one` makes the rows of one file so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from stepaudio.data.rows import ChatRow
from stepaudio.errors import DataError
from stepaudio.seeds import derive_seed

__all__ = ["TokenMix", "audio_tokens", "one_to_one"]


def audio_tokens(rows: Iterable[ChatRow], audio_offset: int) -> list[int]:
    """How many ids of each row are audio, prompt included.

    Args:
        rows: of ids.
        audio_offset: id of the first audio token; all larger ids are audio.

    Returns:
        The counts.
    """
    return [sum(i >= audio_offset for i in (*row.prompt, *row.completion)) for row in rows]


class TokenMix(Iterator[tuple[str, int]]):
    """Draws rows for ever, each kind in a fresh order in every round through it.

    Args:
        sizes: for each kind the tokens that each of its rows counts for: all ids of a row of
            text, and of a row of sound perhaps only :func:`audio_tokens`.
        shares: of the tokens for each kind, in any unit; None makes them equal.
        seed: of the orders.

    Raises:
        DataError: a kind without rows, a row without tokens, or shares that do not fit.
    """

    def __init__(
        self,
        sizes: Mapping[str, Sequence[int]],
        *,
        shares: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.sizes = {name: list(rows) for name, rows in sizes.items()}
        self.shares = dict(shares) if shares is not None else dict.fromkeys(self.sizes, 1.0)
        self.seed = seed
        if not self.sizes or not all(self.sizes.values()):
            raise DataError("every kind of a mix needs at least one row")
        if min(min(rows) for rows in self.sizes.values()) < 1:
            raise DataError("every row of a mix must count for at least one token")
        if self.shares.keys() != self.sizes.keys() or min(self.shares.values()) <= 0:
            raise DataError(
                f"a mix of {sorted(self.sizes)} needs one positive share for each, "
                f"got {self.shares}"
            )
        #: Tokens drawn so far, by kind.
        self.tokens = dict.fromkeys(self.sizes, 0)
        self._drawn = dict.fromkeys(self.sizes, 0)
        self._orders: dict[str, tuple[int, NDArray[np.int64]]] = {}

    def __iter__(self) -> Self:
        """Itself."""
        return self

    def __next__(self) -> tuple[str, int]:
        """The kind and the number of the next row."""
        name = min(self.sizes, key=lambda name: self.tokens[name] / self.shares[name])
        turn, place = divmod(self._drawn[name], len(self.sizes[name]))
        row = int(self._order(name, turn)[place])
        self._drawn[name] += 1
        self.tokens[name] += self.sizes[name][row]
        return name, row

    def state(self) -> dict[str, Any]:
        """Where the mix stands, in plain values."""
        return {"seed": self.seed, "drawn": dict(self._drawn), "tokens": dict(self.tokens)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another mix of the same rows stood.

        Args:
            state: from :meth:`state`.

        Raises:
            DataError: it is of a mix with another seed or of other kinds.
        """
        if state["seed"] != self.seed or state["drawn"].keys() != self.sizes.keys():
            raise DataError(
                f"the state of a mix of {sorted(state['drawn'])} with seed {state['seed']} does "
                f"not fit one of {sorted(self.sizes)} with seed {self.seed}"
            )
        self._drawn = {name: int(state["drawn"][name]) for name in self.sizes}
        self.tokens = {name: int(state["tokens"][name]) for name in self.sizes}

    def _order(self, name: str, turn: int) -> NDArray[np.int64]:
        """The order of one round, drawn from the seed alone."""
        known = self._orders.get(name)
        if known is None or known[0] != turn:
            rng = np.random.default_rng(derive_seed(self.seed, f"{name}/{turn}"))
            known = self._orders[name] = (turn, rng.permutation(len(self.sizes[name])))
        return known[1]


def one_to_one(
    text: Sequence[ChatRow], sound: Sequence[ChatRow], audio_offset: int, *, seed: int = 0
) -> tuple[list[ChatRow], dict[str, int]]:
    """Every row of sound, and as many rows of text as bring the same number of tokens.

    A row of text counts with all its ids, a row of sound with its audio ids; instructions and words
    in its prompt count for neither.

    Args:
        text: chats without sound; none is taken twice.
        sound: edits and speech; each is taken once.
        audio_offset: id of the first audio token; all larger ids are audio.
        seed: of the order, and of which chats are taken.

    Returns:
        The rows, in an order in which every beginning of them keeps the ratio to one row; and how
        many chats were taken (``"text"``) and not (``"text left out"``), with the
        ``"text tokens"`` and the ``"audio tokens"``.

    Raises:
        DataError: no row of sound, or fewer tokens of text than of audio.
    """
    if not sound:
        raise DataError("there is no row of sound to mix text with; give text alone, or more pairs")
    sizes = {"text": [len(row) for row in text], "audio": audio_tokens(sound, audio_offset)}
    there, wanted = sum(sizes["text"]), sum(sizes["audio"])
    # Text is drawn only while it lags behind, so with that much of it none is drawn twice.
    if there < wanted:
        raise DataError(
            f"{len(text)} chats have {there} tokens of text, but {len(sound)} rows of sound have "
            f"{wanted} of audio, and both shall weigh the same; give more chats or fewer "
            "recordings, or write the two to files of their own"
        )
    mix = TokenMix(sizes, seed=seed)
    kinds = {"text": text, "audio": sound}
    rows: list[ChatRow] = []
    left = len(sound)
    while left or mix.tokens["text"] < mix.tokens["audio"]:
        kind, number = next(mix)
        rows.append(kinds[kind][number])
        left -= kind == "audio"
    taken = len(rows) - len(sound)
    return rows, {
        "text": taken,
        "text left out": len(text) - taken,
        **{f"{kind} tokens": count for kind, count in mix.tokens.items()},
    }
