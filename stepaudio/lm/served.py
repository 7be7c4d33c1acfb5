"""A language model that runs behind a server, such as vLLM's, instead of in this process.

It takes the place of a model in a pipeline: ``EditPipeline.from_pretrained(lm=ServedLM(...))``.
The ids follow the rules of our own sampler (see :mod:`stepaudio.lm.remote_sampling`); what a server
cannot give is refused. Greedy ids are those of the same model run here, up to the rounding of its
arithmetic. Drawn ids follow the same distribution, but a seed means other ids than it means here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from stepaudio.errors import ConfigError, NotServedError, ServerError, SpecMismatchError
from stepaudio.hub import CONFIG_FILE, config_from_dict, read_json
from stepaudio.interfaces import SpeechLM
from stepaudio.lm.completions import CompletionServer, TokenStream
from stepaudio.lm.generate import room_for, token_step
from stepaudio.lm.remote_sampling import Writer, check_servable
from stepaudio.lm.sampling import check_sampling
from stepaudio.lm.step1 import Step1Config, spec_of
from stepaudio.servers import ApiKey
from stepaudio.types import Contrast, LMSpec, SamplingParams, StopReason, TokenStep

__all__ = ["ServedLM", "ServerConfig"]

_LONGEST_WAIT = 60.0


@dataclass(frozen=True)
class ServerConfig:
    """Where a model is served, and how patient to be.

    Attributes:
        url: of the server, up to and with the version.
        model: its name there; None takes the only one there is.
        key_variable: environment variable with the key; no key is sent if it is not set.
        timeout: seconds without a byte after which an answer is given up.
        retries: tries after the first, counted anew whenever an id has come.
        backoff: seconds before the second try; doubled for each further one, at most a minute. A
            server that names a wait is obeyed, up to the same limit.

    Raises:
        ConfigError: numbers that make no sense.
    """

    url: str = "http://localhost:8000/v1"
    model: str | None = None
    key_variable: str = "STEPAUDIO_SERVER_KEY"
    timeout: float = 120.0
    retries: int = 5
    backoff: float = 0.5

    def __post_init__(self) -> None:
        good = math.isfinite(self.timeout) and self.timeout > 0
        if not (good and self.retries >= 0 and 0 <= self.backoff <= _LONGEST_WAIT):
            raise ConfigError(
                f"timeout {self.timeout} must be above 0, retries {self.retries} 0 or more, "
                f"backoff {self.backoff} from 0 to {_LONGEST_WAIT:g}"
            )


class ServedLM(SpeechLM):
    """A Step1 language model behind a server. Nothing is asked before the first generation.

    Args:
        spec: of the model that is served.
        config: where it is.

    Raises:
        ConfigError: the URL or the key cannot be used.
    """

    def __init__(self, spec: LMSpec, config: ServerConfig | None = None) -> None:
        self.config = ServerConfig() if config is None else config
        self._spec = spec
        key = ApiKey.from_environment(self.config.key_variable) or ApiKey("")
        self._server = CompletionServer(self.config.url, key=key, timeout=self.config.timeout)
        self._name: str | None = None

    @classmethod
    def for_model(cls, folder: str | Path, config: ServerConfig | None = None) -> Self:
        """The served twin of the language model of a pipeline folder, whose weights stay unread.

        Args:
            folder: holds ``lm/config.json``.
            config: where it is served.

        Returns:
            The model.

        Raises:
            CheckpointError: the settings are missing or not those of a Step1 model.
            ConfigError: the URL or the key cannot be used.
        """
        path = Path(folder) / "lm" / CONFIG_FILE
        return cls(spec_of(config_from_dict(Step1Config, read_json(path), path)), config)

    @property
    def spec(self) -> LMSpec:
        """Vocabulary, audio offset, end ids, context length."""
        return self._spec

    def forward(self, ids: Tensor, cache: Any | None = None) -> Tensor:
        """Refused: a server gives ids, not the scores of a whole vocabulary.

        Args:
            ids: ``[B, T]`` int64.
            cache: state of earlier positions.

        Returns:
            Nothing.

        Raises:
            NotServedError: always.
        """
        raise NotServedError(
            f"{self._server.host} gives ids, not logits; for scores and training run the model in "
            "this process"
        )

    def generate(
        self,
        prompts: Sequence[Tensor],
        sampling: SamplingParams,
        *,
        generators: Sequence[torch.Generator] | None = None,
        cancel: Callable[[], bool] | None = None,
        contrasts: Sequence[Sequence[Contrast]] | None = None,
    ) -> Iterator[TokenStep]:
        """Continue prompts token by token, all at the server at the same time.

        Leaving early hangs up, and the server stops.

        Args:
            prompts: one ``[T_i]`` int64 tensor per sample; lengths may differ.
            sampling: how to draw.
            generators: one per sample, from which the seeds of its requests are drawn; None seeds
                fresh ones from the operating system.
            cancel: asked before every step; True stops every sample. A server that says nothing is
                waited for up to the timeout before it is asked again.
            contrasts: none, as a server gives no logits to be guided.

        Returns:
            One :class:`TokenStep` per step until every sample has stopped.

        Raises:
            PromptError: a prompt is empty or leaves no room in the context.
            NotServedError: a sampling rule that a server cannot follow, or contrasts.
            ServerError: the server cannot be reached, refuses or fails; raised while iterating.
            SpecMismatchError: the server has another model or a shorter context; likewise.
            ValueError: sampling settings or the number of generators make no sense.
        """
        check_sampling(sampling)
        check_servable(sampling)
        if contrasts is not None and any(contrasts):
            raise NotServedError(
                f"{self._server.host} gives ids, not logits, so nothing can be guided; run the "
                "model in this process"
            )
        rooms = [
            room_for(f"prompt {i}", prompt, sampling, self._spec)
            for i, prompt in enumerate(prompts)
        ]
        if generators is None:
            generators = [torch.Generator() for _ in prompts]
            for generator in generators:
                generator.seed()
        if len(generators) != len(prompts):
            raise ValueError(
                f"{len(prompts)} prompts need as many generators, got {len(generators)}"
            )
        writers = [
            Writer(prompt, room, sampling, self._spec, generator)
            for prompt, room, generator in zip(prompts, rooms, generators, strict=True)
        ]
        return self._steps(writers, cancel)

    def _steps(
        self, writers: Sequence[Writer], cancel: Callable[[], bool] | None
    ) -> Iterator[TokenStep]:
        samples = [_Sample(writer, self._ask, self.config) for writer in writers]
        reasons: list[StopReason] = ["running"] * len(samples)
        cpu = torch.device("cpu")
        try:
            while live := [i for i, reason in enumerate(reasons) if reason == "running"]:
                if cancel is not None and cancel():
                    reasons = ["cancelled" if r == "running" else r for r in reasons]
                    yield token_step([], [], len(samples), cpu, reasons)
                    return
                for i in live:
                    samples[i].begin()
                tokens = {i: samples[i].next() for i in live}
                for i, token in tokens.items():
                    if token is None:
                        reasons[i] = "end"
                    elif writers[i].full:
                        reasons[i] = "length"
                kept = {i: token for i, token in tokens.items() if token is not None}
                yield token_step(list(kept), list(kept.values()), len(samples), cpu, reasons)
        finally:
            for sample in samples:
                sample.close()

    def _ask(self, writer: Writer) -> TokenStream:
        if self._name is None:
            self._name = self._find()
        return self._server.complete(writer.ask().body(self._name, self._spec.end_ids))

    def _find(self) -> str:
        """Name of the model at the server, whose context must be long enough."""
        wanted, models = self.config.model, self._server.models()
        found = [model for model in models if wanted in (None, model["id"])]
        if len(found) != 1:
            names = ", ".join(repr(model["id"]) for model in models) or "no model"
            raise SpecMismatchError(
                f"{self._server.host} serves {names}, which leaves open or lacks model={wanted!r}; "
                "name one of them"
            )
        context = found[0].get("max_model_len")
        if isinstance(context, int) and context < self._spec.context_length:
            raise SpecMismatchError(
                f"{self._server.host} serves a context of {context} ids but the language model's "
                f"spec says {self._spec.context_length}; start the server with --max-model-len "
                f"{self._spec.context_length}, or give a spec with context_length={context}"
            )
        name: str = found[0]["id"]
        return name


class _Sample:
    """One stream of a batch and the request it is read from."""

    def __init__(
        self, writer: Writer, ask: Callable[[Writer], TokenStream], config: ServerConfig
    ) -> None:
        self._writer, self._ask, self._config = writer, ask, config
        self._stream: TokenStream | None = None
        self._came = False
        self._failures = 0

    def begin(self) -> None:
        """Send a request if none is at work, so that the server works on all samples at once."""
        if self._stream is None:
            try:
                self._stream, self._came = self._ask(self._writer), False
            except ServerError as error:
                self._wait(error)

    def next(self) -> int | None:
        """The next id that the rules accept; None at the end."""
        while True:
            self.begin()
            if self._stream is None:
                continue
            try:
                token = next(self._stream, None)
            except ServerError as error:
                self._wait(error)
                continue
            if token is None:
                self.close()
                if not self._came:
                    raise ServerError("the server answered without a single id")
                continue
            self._came, self._failures = True, 0
            verdict = self._writer.take(token)
            if verdict != "kept" or self._writer.full:
                self.close()
            if verdict != "redraw":
                return token if verdict == "kept" else None

    def close(self) -> None:
        """Hang up."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _wait(self, error: ServerError) -> None:
        """Wait before another try, or raise; ids that have come are not asked for again."""
        self.close()
        if not error.again or self._failures >= self._config.retries:
            raise error
        wait = self._config.backoff * 2**self._failures if error.wait is None else error.wait
        self._failures += 1
        time.sleep(min(wait, _LONGEST_WAIT))
