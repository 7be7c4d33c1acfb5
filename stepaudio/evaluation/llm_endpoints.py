"""Two ways to ask a language model about a recording over HTTP: OpenAI's chat and Gemini's.

Each class knows one wire format; sending is shared. One call is one request, without retries:
:class:`EndpointProblem` says whether another try may help. The key travels in a header only, is
never followed to another host by a redirect, and is blotted out of whatever a server says back.
"""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from stepaudio.errors import JudgeError
from stepaudio.servers import WORTH_ANOTHER_TRY, ApiKey, retry_after

__all__ = ["Endpoint", "EndpointProblem", "GeminiEndpoint", "OpenAIEndpoint", "Reply"]

_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        text: the model's words; the raw body if there are none in it.
        model: the model that the server says it used; empty if it does not say.
        tokens: read and written, if the server says.
    """

    text: str
    model: str = ""
    tokens: tuple[int, int] | None = None


class EndpointProblem(JudgeError):
    """A request failed; each argument is an attribute too.

    Args:
        message: what happened, without the key.
        again: another try may help.
        wait: seconds the server asks to wait before it; None if it does not say.
        maybe_charged: the server may have done the work all the same.
        status: of HTTP; None if there was no answer at all.
    """

    def __init__(
        self,
        message: str,
        *,
        again: bool = False,
        wait: float | None = None,
        maybe_charged: bool = False,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.again, self.wait = again, wait
        self.maybe_charged, self.status = maybe_charged, status


class Endpoint(ABC):
    """A model behind a URL.

    Args:
        model: its id.
        base_url: without the part that names the call; None is the vendor's own.
        api_key: None reads ``key_variable``; empty sends no key, for servers that want none.
        key_variable: environment variable that holds the key; None is the vendor's own.
        timeout: seconds.
        max_tokens: most tokens of an answer, thoughts included.

    Raises:
        JudgeError: no key, or a URL that is not ``http`` or ``https``.
    """

    default_url: str
    default_variable: str

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        key_variable: str | None = None,
        timeout: float = 120.0,
        max_tokens: int = 4096,
    ) -> None:
        self.model = model
        self._url = (base_url or self.default_url).rstrip("/")
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise JudgeError(f"the endpoint of {model!r} must be an http or https address")
        self.host = parts.hostname + (f":{parts.port}" if parts.port else "")
        self.timeout, self.max_tokens = timeout, max_tokens
        variable = key_variable or self.default_variable
        key = ApiKey.from_environment(variable) if api_key is None else ApiKey(api_key)
        if key is None:
            raise JudgeError(
                f"no key for {model!r}: set the environment variable {variable} or give api_key "
                "(an empty one for a server that wants none)"
            )
        self._key = key
        self._opener = urllib.request.build_opener(_NoRedirect)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, host={self.host!r})"

    @abstractmethod
    def _request(self, question: str, wav: str) -> tuple[str, dict[str, str], dict[str, Any]]:
        """Path below the base URL, headers with the key, and body; ``wav`` is base64."""

    @abstractmethod
    def _read(self, body: Mapping[str, Any]) -> Reply:
        """Words, model and tokens of an answer; KeyError and the like if there are none."""

    def ask(self, question: str, wav: bytes) -> Reply:
        """Ask once.

        Args:
            question: the prompt.
            wav: a WAV file.

        Returns:
            The answer.

        Raises:
            EndpointProblem: no answer.
        """
        path, headers, body = self._request(question, base64.b64encode(wav).decode("ascii"))
        request = urllib.request.Request(
            self._url + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **(headers if self._key else {})},
            method="POST",
        )
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                raw = response.read(_MOST_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                said = " ".join(self._key.blot(_body_of(error)).split())[:300]
            raise EndpointProblem(
                f"{self.host} answered {error.code} for {self.model!r}: {said}",
                again=error.code in WORTH_ANOTHER_TRY,
                wait=retry_after(error.headers.get("Retry-After")),
                status=error.code,
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise EndpointProblem(
                f"no answer from {self.host} for {self.model!r}: {self._key.blot(repr(error))}",
                again=True,
                maybe_charged=not _never_arrived(error),
            ) from None
        text = self._key.blot(raw.decode("utf-8", "replace"))
        try:
            return self._read(json.loads(text))
        except (ValueError, LookupError, TypeError, AttributeError):
            return Reply(text)


class OpenAIEndpoint(Endpoint):
    """The chat format of OpenAI, which many servers speak; the recording is ``input_audio``."""

    default_url = "https://api.openai.com/v1"
    default_variable = "OPENAI_API_KEY"

    def _request(self, question: str, wav: str) -> tuple[str, dict[str, str], dict[str, Any]]:
        content = [
            {"type": "input_audio", "input_audio": {"data": wav, "format": "wav"}},
            {"type": "text", "text": question},
        ]
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "max_tokens": self.max_tokens,
        }
        return "/chat/completions", {"Authorization": f"Bearer {self._key.reveal()}"}, body

    def _read(self, body: Mapping[str, Any]) -> Reply:
        text = body["choices"][0]["message"]["content"]
        if not isinstance(text, str):
            raise TypeError("a refusal or an empty message has no text")
        usage = body.get("usage") or {}
        tokens = _pair(usage.get("prompt_tokens"), usage.get("completion_tokens"))
        return Reply(text, str(body.get("model") or ""), tokens)


class GeminiEndpoint(Endpoint):
    """The format of Gemini's ``generateContent``; the recording is ``inlineData``."""

    default_url = "https://generativelanguage.googleapis.com/v1beta"
    default_variable = "GEMINI_API_KEY"

    def _request(self, question: str, wav: str) -> tuple[str, dict[str, str], dict[str, Any]]:
        parts = [{"inlineData": {"mimeType": "audio/wav", "data": wav}}, {"text": question}]
        body = {
            "contents": [{"role": "user", "parts": parts}],
            "generationConfig": {
                "temperature": 0,
                "maxOutputTokens": self.max_tokens,
                "responseMimeType": "application/json",
            },
        }
        name = quote(self.model.removeprefix("models/"), safe="")
        return f"/models/{name}:generateContent", {"x-goog-api-key": self._key.reveal()}, body

    def _read(self, body: Mapping[str, Any]) -> Reply:
        parts = body["candidates"][0]["content"]["parts"]
        text = "".join(part["text"] for part in parts if "text" in part and not part.get("thought"))
        usage = body.get("usageMetadata") or {}
        written = usage.get("candidatesTokenCount")
        if written is not None:
            written += usage.get("thoughtsTokenCount") or 0
        tokens = _pair(usage.get("promptTokenCount"), written)
        return Reply(text, str(body.get("modelVersion") or ""), tokens)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key along, so it is an error like any other."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _never_arrived(error: BaseException) -> bool:
    reason = getattr(error, "reason", error)
    return isinstance(reason, ConnectionRefusedError)


def _body_of(error: urllib.error.HTTPError) -> str:
    try:
        return error.read(_MOST_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return "(no explanation)"


def _pair(read: Any, written: Any) -> tuple[int, int] | None:
    if isinstance(read, int) and isinstance(written, int) and min(read, written) >= 0:
        return read, written
    return None
