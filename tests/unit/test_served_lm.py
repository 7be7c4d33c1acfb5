"""A served language model against a stub that speaks the server's protocol and runs the model."""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from stub_server import MODEL, Stub, serving, status
from torch import Tensor

from stepaudio.errors import (
    ConfigError,
    NotServedError,
    PromptError,
    ServerError,
    SpecMismatchError,
)
from stepaudio.lm.generate import collect
from stepaudio.lm.served import ServedLM, ServerConfig
from stepaudio.lm.step1 import Step1Config, Step1LM, spec_of
from stepaudio.testing import check_speech_lm
from stepaudio.types import Contrast, SamplingParams, StopReason

KEY = "sk-very-secret-0123456789"
SPEC = spec_of(Step1Config.debug())
GREEDY = SamplingParams(temperature=0.0, max_new_tokens=15)
PROMPTS = [torch.tensor([4, 5, 6, 7]), torch.tensor([9, 8, 80, 81, 92, 93, 94])]


@pytest.fixture(scope="module")
def lm() -> Step1LM:
    torch.manual_seed(3)
    return Step1LM(Step1Config.debug()).eval()


@pytest.fixture
def stub(lm: Step1LM) -> Iterator[Stub]:
    with serving(lm) as server:
        yield server


def served(stub: Stub, **settings: Any) -> ServedLM:
    return ServedLM(SPEC, ServerConfig(stub.url, backoff=0.01, **settings))


def run(
    lm: ServedLM | Step1LM, sampling: SamplingParams, prompts: Sequence[torch.Tensor] = PROMPTS
) -> tuple[list[list[int]], list[StopReason]]:
    """Which of two requests a server takes first is up to its threads; one prompt has an order."""
    seeds = [torch.Generator().manual_seed(i) for i in range(len(prompts))]
    ids, reasons = collect(lm.generate(prompts, sampling, generators=seeds))
    return [stream.tolist() for stream in ids], reasons


class WithLogits(ServedLM):
    """The suite also looks at logits, which only the model itself has."""

    local: Step1LM

    def forward(self, ids: Tensor, cache: Any | None = None) -> Tensor:
        return self.local(ids, cache)


def test_the_conformance_suite(stub: Stub, lm: Step1LM) -> None:
    remote = WithLogits(SPEC, ServerConfig(stub.url))
    remote.local = lm
    check_speech_lm(remote)


@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        replace(GREEDY, constrain=False),
        replace(GREEDY, min_new_tokens=10),
        replace(GREEDY, top_k=3),
    ],
)
def test_greedy_ids_are_those_of_the_model_itself(
    stub: Stub, lm: Step1LM, sampling: SamplingParams
) -> None:
    assert run(served(stub), sampling) == run(lm, sampling)


def test_an_end_is_told_and_not_emitted(stub: Stub, lm: Step1LM) -> None:
    weight = lm.lm_head.weight
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[SPEC.end_ids[0]] = 100 * weight[80:112].abs().amax(0)
            sampling = SamplingParams(temperature=1.0, min_new_tokens=5, max_new_tokens=200)
            ids, reasons = run(served(stub), sampling)
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    assert "end" in reasons
    assert all(len(stream) >= 5 and not set(stream) & set(SPEC.end_ids) for stream in ids)


def test_a_request_says_everything_that_changes_the_drawing(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPAUDIO_SERVER_KEY", KEY)
    run(served(stub), replace(GREEDY, constrain=False), PROMPTS[:1])
    body = dict(stub.bodies[0])
    assert body.pop("seed") >= 0
    assert body == {
        "model": MODEL,
        "prompt": [4, 5, 6, 7],
        "max_tokens": 15,
        "min_tokens": 0,
        "temperature": 0.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "n": 1,
        "stop_token_ids": [3],
        "ignore_eos": True,
        "skip_special_tokens": False,
        "return_token_ids": True,
        "stream": True,
    }
    assert {header["Authorization"] for header in stub.headers} == {f"Bearer {KEY}"}


def test_without_a_key_none_is_sent(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEPAUDIO_SERVER_KEY", raising=False)
    run(served(stub), GREEDY)
    assert all("Authorization" not in header for header in stub.headers)


def test_seeds_repeat_and_differ(stub: Stub) -> None:
    drawn = replace(GREEDY, temperature=1.0, repetition="ras", top_p=0.9)
    assert run(served(stub), drawn) == run(served(stub), drawn)
    assert len({body["seed"] for body in stub.bodies}) == len(stub.bodies) // 2


def test_what_passes_is_tried_again(stub: Stub, lm: Step1LM) -> None:
    stub.mishaps = [status(429, "busy", Retry_After="0"), status(503, "warming up")]
    stub.drop_after = [0, 4, None, 2]
    assert run(served(stub), GREEDY) == run(lm, GREEDY)
    assert not stub.mishaps
    assert not stub.drop_after


def test_an_answer_that_breaks_off_goes_on_where_it_was(stub: Stub, lm: Step1LM) -> None:
    free = replace(GREEDY, constrain=False)
    stub.drop_after = [4]
    ids, _ = run(served(stub), free, PROMPTS[:1])
    assert ids == run(lm, free, PROMPTS[:1])[0]
    assert stub.bodies[1]["prompt"] == [*PROMPTS[0].tolist(), *ids[0][:4]]
    assert stub.bodies[1]["max_tokens"] == 11


def test_what_does_not_pass_is_told(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPAUDIO_SERVER_KEY", KEY)
    remote = served(stub, retries=2)
    run(remote, GREEDY)
    for mishap, tries, message in (
        (status(503, f"no {KEY} today"), 3, r"503: no \*\*\* today"),
        (status(400, f"bad request of {KEY}"), 1, r"400: bad request of \*\*\*"),
        (status(302, "", Location="http://elsewhere.example/v1"), 1, "302"),
    ):
        stub.mishaps, before = [mishap] * 9, len(stub.headers)
        with pytest.raises(ServerError, match=message) as caught:
            run(remote, GREEDY, PROMPTS[:1])
        assert 9 - len(stub.mishaps) == tries
        assert len(stub.headers) > before
        assert KEY not in "".join(traceback.format_exception(caught.value))
    stub.mishaps = []
    assert KEY not in repr(remote.config) + repr(vars(remote)) + repr(vars(remote._server))


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lm = ServedLM(SPEC, ServerConfig(f"http://127.0.0.1:{port}/v1", retries=1, backoff=0.01))
    with pytest.raises(ServerError, match=f"no answer from 127.0.0.1:{port}"):
        next(lm.generate(PROMPTS, GREEDY))


def test_a_silent_server_is_given_up(stub: Stub) -> None:
    stub.pace = 0.5
    with pytest.raises(ServerError, match="timed out"):
        run(served(stub, timeout=0.1, retries=0), GREEDY)


@pytest.mark.parametrize(
    ("event", "error", "message"),
    [
        ({"choices": [{"text": "<audio_1>"}]}, NotServedError, "return_token_ids"),
        ({"choices": [{"token_ids": [], "finish_reason": "abort"}]}, ServerError, "abort"),
        ({"choices": [{"token_ids": [], "finish_reason": "stop"}]}, ServerError, "single id"),
        ({"choices": [{"token_ids": [7000]}]}, ServerError, "same model"),
        ({"error": {"message": "out of blocks", "code": 400}}, ServerError, "out of blocks"),
        ({"choices": "many"}, ServerError, "cannot be read"),
        ([1], ServerError, "cannot be read"),
    ],
)
def test_answers_that_make_no_sense(
    stub: Stub, event: Any, error: type[Exception], message: str
) -> None:
    stub.alter = lambda _: event
    with pytest.raises(error, match=message):
        run(served(stub, retries=1), GREEDY)


def test_leaving_early_hangs_up(stub: Stub) -> None:
    stub.pace = 0.01
    steps = served(stub).generate(PROMPTS, replace(GREEDY, constrain=False, max_new_tokens=400))
    next(steps)
    steps.close()
    patience = time.monotonic() + 20
    while stub.hung_up < 2 and time.monotonic() < patience:
        time.sleep(0.01)
    assert stub.hung_up == 2


def test_another_model_or_a_shorter_context_is_refused(stub: Stub) -> None:
    with pytest.raises(SpecMismatchError, match=r"'stub'.*model='other'"):
        run(served(stub, model="other"), GREEDY)
    stub.models = [{"id": "a"}, {"id": "b", "max_model_len": 100}]
    with pytest.raises(SpecMismatchError, match="name one"):
        run(served(stub), GREEDY)
    with pytest.raises(SpecMismatchError, match="--max-model-len 512"):
        run(served(stub, model="b"), GREEDY)
    run(served(stub, model="a"), GREEDY)
    stub.mishaps = [status(200, '{"data": 3}')]
    with pytest.raises(ServerError, match="/models"):
        run(served(stub), GREEDY)


def test_what_is_refused_before_anything_is_sent(stub: Stub) -> None:
    lm = served(stub)
    with pytest.raises(NotServedError, match="logits"):
        lm.forward(PROMPTS[0][None])
    with pytest.raises(NotServedError, match="published_v1"):
        lm.generate(PROMPTS, replace(GREEDY, repetition="published_v1"))
    with pytest.raises(NotServedError, match="guided"):
        lm.generate(PROMPTS, GREEDY, contrasts=[[Contrast(PROMPTS[0], 1.0)] for _ in PROMPTS])
    with pytest.raises(PromptError, match="prompt 0"):
        lm.generate([torch.zeros(0, dtype=torch.int64)], GREEDY)
    with pytest.raises(ValueError, match="generators"):
        lm.generate(PROMPTS, GREEDY, generators=[torch.Generator()])
    assert not stub.headers


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "ftp://host/v1",
        "http://me:key@host/v1",
        "http://host:99999/v1",
        "http://host/v1?key=1",
        "",
    ],
)
def test_urls_are_checked(url: str) -> None:
    with pytest.raises(ConfigError, match="URL"):
        ServedLM(SPEC, ServerConfig(url))


def test_settings_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="timeout"):
        ServerConfig(timeout=0.0)
    monkeypatch.setenv("STEPAUDIO_SERVER_KEY", "a\nb")
    with pytest.raises(ConfigError, match="line ends") as caught:
        ServedLM(SPEC)
    assert "a\nb" not in str(caught.value)
