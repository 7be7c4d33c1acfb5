"""What every client of a server needs: a key that never shows, and which failures may pass."""

from __future__ import annotations

import os
from collections.abc import Callable

from typing_extensions import Self

from stepaudio.errors import ConfigError

__all__ = ["WORTH_ANOTHER_TRY", "ApiKey", "retry_after"]

#: Statuses of HTTP after which the same request may succeed.
WORTH_ANOTHER_TRY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})

_SHORTEST_SECRET = 8


class ApiKey:
    """A secret for a header; no representation, dict of attributes or message shows it.

    Args:
        value: the key; empty is none.

    Raises:
        ConfigError: it holds characters that no header can carry.
    """

    def __init__(self, value: str) -> None:
        secret = value.strip()
        if not (secret.isascii() and secret.isprintable()):
            raise ConfigError("the API key holds line ends or other characters no key has")
        # Held by a function, so that no representation, copy to a dict or report shows it.
        self._reveal: Callable[[], str] = lambda: secret

    @classmethod
    def from_environment(cls, variable: str) -> Self | None:
        """Read a key.

        Args:
            variable: of the environment.

        Returns:
            The key; None if the variable is not set.
        """
        value = os.environ.get(variable)
        return None if value is None else cls(value)

    def __bool__(self) -> bool:
        return bool(self._reveal())

    def reveal(self) -> str:
        """The key, for the header of a request."""
        return self._reveal()

    def blot(self, text: str) -> str:
        """A text without the key, should a server have said it back.

        Args:
            text: of a server.

        Returns:
            The text.
        """
        # A shorter one is a word that a local server takes for a key, and may well be an answer.
        key = self._reveal()
        return text.replace(key, "***") if len(key) >= _SHORTEST_SECRET else text


def retry_after(header: str | None) -> float | None:
    """Seconds that a server asks to wait.

    Args:
        header: ``Retry-After``.

    Returns:
        Seconds; None without the header, or if it is a date, for which the usual wait will do.
    """
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None
