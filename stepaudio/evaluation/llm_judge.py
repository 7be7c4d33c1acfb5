"""An audio language model as a judge: asks, reads the JSON answer, tries again, minds the cost.

The paper judges with Gemini 2.5 Pro (section 4). A forced choice is worth what can be parsed: an
answer outside the list is kept as it is and counts as wrong, it is never dropped.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import soundfile
import torch

from stepaudio.audio import Audio
from stepaudio.edits import PARALINGUISTIC_TAGS
from stepaudio.errors import JudgeAnswerError, JudgeBudgetError, JudgeError
from stepaudio.evaluation.contracts import ModelId, Sample, Verdict
from stepaudio.evaluation.judge_prompts import JudgeTask
from stepaudio.evaluation.llm_endpoints import Endpoint, EndpointProblem, Reply

__all__ = ["LLMJudge", "Price", "read_answer"]

# Models hear at 16 to 24 kHz; more is only more to send.
_HIGHEST_RATE = 24000
# More than any model makes of a second of sound, a letter of a question, or a whole message.
_TOKENS_PER_SECOND, _TOKENS_PER_LETTER, _TOKENS_PER_MESSAGE = 50, 1, 200
_LONGEST_WAIT = 60.0
# Reading takes time with the square of the length.
_LONGEST_ANSWER = 20000
_OBJECT = re.compile(r'\{\s*"')
# Stands for every sample where the question is named.
_EXAMPLE = Sample("", Audio(torch.zeros(1), _HIGHEST_RATE), text=f"a {PARALINGUISTIC_TAGS[0]} b")
_REFUSES_THIS_SAMPLE = (400, 413, 422)
_REMINDER = "\nThe last answer was not the JSON object asked for. Give only that object."


@dataclass(frozen=True)
class Price:
    """What a request costs, in one currency.

    Attributes:
        request: each request.
        per_1k_input: a thousand tokens read, the recording's included.
        per_1k_output: a thousand tokens written, thoughts included.
    """

    request: float = 0.0
    per_1k_input: float = 0.0
    per_1k_output: float = 0.0

    def __post_init__(self) -> None:
        values = (self.request, self.per_1k_input, self.per_1k_output)
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise ValueError(f"prices must be finite and not negative, got {values}")

    def of(self, read: int, written: int) -> float:
        """Cost of one request.

        Args:
            read: tokens.
            written: tokens.

        Returns:
            The cost.
        """
        return self.request + (read * self.per_1k_input + written * self.per_1k_output) / 1000


class LLMJudge:
    """A judge behind an endpoint; satisfies :class:`~stepaudio.evaluation.contracts.Judge`.

    Before each request its worst case is set aside, so what is spent never passes ``max_cost`` as
    long as the prices are right. Afterwards the tokens that the server counted are charged, or the
    worst case if it does not say, or if a request got lost on the way.

    Args:
        endpoint: the model.
        task: the question, such as :data:`~stepaudio.evaluation.judge_prompts.EMOTION`.
        price: of a request.
        max_cost: what all requests of this judge together may cost.
        workers: requests at a time.
        attempts: tries per sample, whatever goes wrong.
        backoff: seconds before the second try, doubled before each further one.

    Raises:
        ValueError: a cap, a number of workers or of attempts that makes no sense.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        task: JudgeTask,
        *,
        price: Price,
        max_cost: float,
        workers: int = 4,
        attempts: int = 5,
        backoff: float = 1.0,
    ) -> None:
        if not max_cost >= 0 or workers < 1 or attempts < 1 or not backoff >= 0:
            raise ValueError(
                f"max_cost {max_cost} and backoff {backoff} must not be negative, workers "
                f"{workers} and attempts {attempts} at least 1"
            )
        self.endpoint, self.task = endpoint, task
        self._purse = _Purse(price, max_cost)
        self._workers, self._attempts, self._backoff = workers, attempts, backoff
        self._served: set[str] = set()

    @property
    def model(self) -> ModelId:
        """The model asked for, with a digest of the question as its version.

        This stays the same from one day to the next, so that kept verdicts are not paid for
        again. Which model really answered, and when, is in each verdict and in :attr:`served`.
        """
        question = repr((self.task.labels, self.task.ask(_EXAMPLE)))
        digest = hashlib.sha256(question.encode()).hexdigest()[:12]
        return ModelId(
            f"{self.endpoint.host}/{self.endpoint.model}", f"{self.task.name} question {digest}"
        )

    @property
    def served(self) -> tuple[str, ...]:
        """Models that have answered, as the server names them, each with the date (UTC)."""
        return tuple(sorted(self._served))

    @property
    def labels(self) -> tuple[str, ...]:
        """Answers that count."""
        return self.task.labels

    @property
    def cost(self) -> float:
        """Spent so far, at most ``max_cost``."""
        return self._purse.spent

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        """Ask about every sample.

        Args:
            samples: their audio is sent; ``text`` too where the task asks for it.

        Returns:
            A verdict per sample, in order; ``answer`` is a label wherever the model gave one,
            ``raw`` a JSON object of ``model``, ``date`` and what was ``said``.

        Raises:
            JudgeBudgetError: the cost cap stops the next request. ``verdicts`` holds what is done.
            JudgeAnswerError: some samples were refused, or their answers could not be read after
                all tries. All others were asked and are in ``verdicts``.
            JudgeError: the endpoint refuses or stays away after all tries; nothing more is asked
                then. ``verdicts`` holds what is done.
        """
        questions = [self.task.ask(sample) for sample in samples]
        verdicts: list[Verdict | None] = [None] * len(samples)
        fatal: list[JudgeError] = []
        unread: dict[str, str] = {}
        stop = threading.Event()

        def one(index: int) -> None:
            if stop.is_set():
                return
            try:
                verdicts[index] = self._verdict(samples[index].audio, questions[index], stop)
            except _SampleError as error:
                unread[samples[index].id] = str(error)
            except JudgeError as error:
                fatal.append(error)
                stop.set()

        with ThreadPoolExecutor(self._workers) as pool:
            try:
                for done in [pool.submit(one, index) for index in range(len(samples))]:
                    done.result()
            finally:  # also when the user interrupts
                stop.set()
        if fatal:
            kind = JudgeBudgetError if isinstance(fatal[0], JudgeBudgetError) else JudgeError
            count = sum(verdict is not None for verdict in verdicts)
            raise kind(f"{fatal[0]} ({count} of {len(samples)} samples judged)", verdicts)
        if unread:
            name, why = next(iter(unread.items()))
            raise JudgeAnswerError(
                f"{self.endpoint.model!r} gave no readable answer for {len(unread)} of "
                f"{len(samples)} samples; for {name!r}, {why}; ask again or count them as wrong",
                verdicts,
            )
        return [verdict for verdict in verdicts if verdict is not None]

    def _verdict(self, audio: Audio, question: str, stop: threading.Event) -> Verdict:
        wav = _wav(audio)
        worst_read = math.ceil(audio.seconds * _TOKENS_PER_SECOND) + _TOKENS_PER_MESSAGE
        reminder, last = "", ""
        for attempt in range(self._attempts):
            asked = question + reminder
            try:
                reply = self._ask(asked, wav, worst_read + len(asked) * _TOKENS_PER_LETTER)
            except EndpointProblem as problem:
                if problem.status in _REFUSES_THIS_SAMPLE:
                    raise _SampleError(str(problem)) from None
                if not problem.again or attempt + 1 == self._attempts or stop.is_set():
                    raise
                wait = self._backoff * 2**attempt if problem.wait is None else problem.wait
                stop.wait(min(wait, _LONGEST_WAIT))
                continue
            answer = read_answer(reply.text)
            if answer is not None:
                return Verdict(_as_label(answer, self.labels), raw=self._record(reply))
            reminder, last = _REMINDER, reply.text
        raise _SampleError(f"it said {last[:200]!r}")

    def _record(self, reply: Reply) -> str:
        model = reply.model or self.endpoint.model
        date = datetime.now(timezone.utc).date().isoformat()
        self._served.add(f"{model} {date}")
        record = {"model": model, "date": date, "said": reply.text}
        return json.dumps(record, ensure_ascii=False)

    def _ask(self, question: str, wav: bytes, worst_read: int) -> Reply:
        held = self._purse.hold(worst_read, self.endpoint.max_tokens)
        charged: float | None = None
        try:
            reply = self.endpoint.ask(question, wav)
            if reply.tokens is not None:
                charged = self._purse.price.of(*reply.tokens)
            return reply
        except EndpointProblem as problem:
            charged = None if problem.maybe_charged else 0.0
            raise
        finally:
            self._purse.settle(held, charged)


class _SampleError(JudgeError):
    """There is no answer for one sample; there may be for others."""


class _Purse:
    """Money of one judge, shared by its threads."""

    def __init__(self, price: Price, cap: float) -> None:
        self.price, self.cap = price, cap
        self.spent = 0.0
        self._held = 0.0
        self._holders = 0
        self._changed = threading.Condition()

    def hold(self, read: int, written: int) -> float:
        """Set a worst case aside; while others hold something, wait for what they give back."""
        worst = self.price.of(read, written)
        with self._changed:
            # A hair of room: sums of floats are not exact.
            while self.spent + self._held + worst > self.cap * (1 + 1e-9):
                if not self._holders:
                    raise JudgeBudgetError(
                        f"the next request may cost {worst:.6g}, and {self.spent:.6g} of "
                        f"{self.cap:.6g} is spent; raise max_cost to go on"
                    )
                self._changed.wait()
            self._held += worst
            self._holders += 1
        return worst

    def settle(self, held: float, charged: float | None) -> None:
        """Give back what was set aside and charge what it came to; None is all of it."""
        with self._changed:
            self._holders -= 1
            self._held = self._held - held if self._holders else 0.0
            self.spent += held if charged is None else charged
            self._changed.notify_all()


def read_answer(text: str) -> str | None:
    """The answer in a model's words.

    Args:
        text: should hold ``{"reasoning": ..., "answer": ...}``; fences and words around it, and
            earlier drafts of it, are passed over.

    Returns:
        The last answer in it as text; None if there is none.
    """
    text = text[-_LONGEST_ANSWER:]
    decoder = json.JSONDecoder(strict=False)  # models write line breaks into strings
    answer, found = None, _OBJECT.search(text)
    while found:
        try:
            value, end = decoder.raw_decode(text, found.start())
        except RecursionError:
            break
        except ValueError:
            end = found.start() + 1
        else:
            said = _as_text(value.get("answer"))
            answer = answer if said is None else said
        found = _OBJECT.search(text, end)
    return answer


def _as_text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def _as_label(answer: str, labels: tuple[str, ...]) -> str:
    """The label that differs only in case, spaces and quotes; otherwise the answer itself."""
    plain = re.sub(r"[\s-]+", "_", answer.strip(" \t\n\"'.").lower())
    return next((label for label in labels if label.lower() == plain), answer)


def _wav(audio: Audio) -> bytes:
    audio = audio.resample(min(audio.sample_rate, _HIGHEST_RATE))
    file = io.BytesIO()
    samples = audio.samples.clamp(-1, 1).numpy()
    soundfile.write(file, samples, audio.sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()
