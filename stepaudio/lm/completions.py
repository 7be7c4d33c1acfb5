"""Ids from a server that speaks OpenAI's completions protocol with vLLM's additions.

Prompts travel as ids and answers come back as ids, streamed as server-sent events. A request is
sent when its stream is made and its answer is read when the first id is asked for, so one thread
can have many of them at work. Nothing is tried twice here: :class:`ServerError` says whether
another try may help. The key travels in a header only, to the host that was named and no other.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from stepaudio.errors import ConfigError, NotServedError, ServerError
from stepaudio.servers import WORTH_ANOTHER_TRY, ApiKey, retry_after

__all__ = ["CompletionServer", "TokenStream"]

_MOST_BYTES = 1 << 20
# A name, an address or [an address of IPv6], perhaps a port, and a path; no user, no query.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>\d{1,5}))?)"
    r"(?P<path>(?:/[\w.~-]+)*/?)",
    re.ASCII,
)


class CompletionServer:
    """Where to ask.

    Args:
        url: up to and with the version, such as ``http://localhost:8000/v1``.
        key: sent as a bearer token unless it is empty.
        timeout: seconds without a byte after which an answer is given up.

    Raises:
        ConfigError: the URL is not ``http`` or ``https``.
    """

    def __init__(self, url: str, *, key: ApiKey, timeout: float) -> None:
        match = _URL.fullmatch(url)
        if match is None or int(match["port"] or 0) > 65535:
            raise ConfigError(
                "the URL of a model server must be http://HOST:PORT/v1 or https://HOST:PORT/v1; "
                "its key belongs into the environment"
            )
        self.host = match["host"]
        self._secure = match["scheme"] == "https"
        self._path = match["path"].rstrip("/")
        self._key, self._timeout = key, timeout

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.host!r})"

    def models(self) -> list[dict[str, Any]]:
        """What the server says about the models it serves.

        Returns:
            One object per model, with its ``id``.

        Raises:
            ServerError: no answer, or one that makes no sense.
        """
        connection = self._send("GET", "/models", None)
        try:
            listed = json.loads(self.answer(connection).read(_MOST_BYTES))["data"]
            return [{**model, "id": str(model["id"])} for model in listed]
        except (OSError, http.client.HTTPException) as error:
            raise self.lost(error) from None
        except (ValueError, LookupError, TypeError) as error:
            raise ServerError(f"{self.host} answered /models with something else") from error
        finally:
            connection.close()

    def complete(self, body: Mapping[str, Any]) -> TokenStream:
        """Send a request.

        Args:
            body: with ``stream`` and ``return_token_ids``.

        Returns:
            The ids to come.

        Raises:
            ServerError: the server cannot be reached.
        """
        return TokenStream(self, self._send("POST", "/completions", body))

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self.host, timeout=self._timeout)
        headers = {"Accept": "text/event-stream, application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key.reveal()}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, self._path + path, body=content, headers=headers)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self.lost(error) from None
        return connection

    def answer(self, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        """Wait for the beginning of an answer; no redirect is followed.

        Args:
            connection: with the request sent.

        Returns:
            The answer, whose body is still to be read.

        Raises:
            ServerError: no answer, or a status other than 200.
        """
        try:
            response = connection.getresponse()
            if response.status == 200:
                return response
            said = response.read(_MOST_BYTES).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise self.lost(error) from None
        raise ServerError(
            f"{self.host} answered {response.status}: {self.blotted(said)}",
            again=response.status in WORTH_ANOTHER_TRY,
            wait=retry_after(response.headers.get("Retry-After")),
        )

    def lost(self, error: BaseException) -> ServerError:
        """A failure of the connection as an error that names the host."""
        what = self.blotted(str(error)) or type(error).__name__
        passes = not isinstance(error, ssl.SSLCertVerificationError)
        return ServerError(f"no answer from {self.host}: {what}", again=passes)

    def blotted(self, text: str) -> str:
        """What a server said, short, in one line and without the key."""
        return " ".join(self._key.blot(text).split())[:300]


class TokenStream(Iterator[int]):
    """The ids of one request, as they come; ends when all that were asked for have come.

    Args:
        server: that was asked.
        connection: with the request sent.
    """

    def __init__(self, server: CompletionServer, connection: http.client.HTTPConnection) -> None:
        self._server, self._connection = server, connection
        self._response: http.client.HTTPResponse | None = None
        self._ready: list[int] = []
        self._over = False

    def __next__(self) -> int:
        """The next id.

        Returns:
            The id.

        Raises:
            ServerError: the server refused, failed, or broke off.
            NotServedError: the server does not give ids.
        """
        while not self._ready:
            if self._over:
                self.close()
                raise StopIteration
            self._read()
        return self._ready.pop(0)

    def close(self) -> None:
        """Hang up, which makes the server stop; what it has sent is lost."""
        self._ready, self._over = [], True
        # The response holds the socket when the server closes it after the answer.
        for held in (self._response, self._connection):
            if held is not None:
                with suppress(OSError, http.client.HTTPException):
                    held.close()

    def _read(self) -> None:
        """Read one event."""
        server = self._server
        if self._response is None:
            self._response = server.answer(self._connection)
        try:
            line = self._response.readline(_MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise server.lost(error) from None
        if not line:
            raise ServerError(f"{server.host} broke off within its answer", again=True)
        text = line.decode("utf-8", "replace").strip()
        if not text.startswith("data:"):
            return
        data = text.removeprefix("data:").strip()
        if data == "[DONE]":
            raise ServerError(f"{server.host} ended its answer without a reason", again=True)
        try:
            self._take(json.loads(data))
        except NotServedError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ServerError(
                f"{server.host} sent an event that cannot be read: {server.blotted(data)}"
            ) from error

    def _take(self, event: dict[str, Any]) -> None:
        server = self._server
        if "error" in event:
            code = event["error"].get("code")
            raise ServerError(
                f"{server.host} failed while it answered: {server.blotted(str(event['error']))}",
                again=code in WORTH_ANOTHER_TRY,
            )
        if not event["choices"]:  # usage, if the server always tells it
            return
        (choice,) = event["choices"]
        ids, reason = choice.get("token_ids"), choice.get("finish_reason")
        if ids is None:
            raise NotServedError(
                f"{server.host} does not tell the ids it draws (return_token_ids, an addition of "
                "vLLM to the protocol); serve the model with vLLM"
            )
        self._ready += [int(token) for token in ids]
        if reason in ("length", "stop"):
            self._over = True
        elif reason is not None:
            raise ServerError(f"{server.host} gave the request up ({reason})", again=True)
