"""The language-model judge against a stub server on this machine, in both wire formats."""

from __future__ import annotations

import base64
import copy
import io
import json
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import soundfile
import torch

from stepaudio.audio import Audio
from stepaudio.errors import JudgeAnswerError, JudgeBudgetError, JudgeError
from stepaudio.evaluation.contracts import Judge, Sample
from stepaudio.evaluation.judge_prompts import (
    EMOTION,
    PARALINGUISTIC,
    STYLE,
    JudgeTask,
    tag_places,
)
from stepaudio.evaluation.llm_endpoints import Endpoint, GeminiEndpoint, OpenAIEndpoint
from stepaudio.evaluation.llm_judge import LLMJudge, Price, read_answer

KEY = "sk-very-secret-0123456789"
GOOD = '{"reasoning": "bright voice", "answer": "happy"}'
FORMATS = ("openai", "gemini")

#: Status, text of the model or whole body, headers.
Answer = tuple[int, str, dict[str, str]]


def openai_body(text: str) -> str:
    usage = {"prompt_tokens": 100, "completion_tokens": 20}
    choice = {"message": {"role": "assistant", "content": text}}
    return json.dumps({"model": "stub-2026-01", "choices": [choice], "usage": usage})


def gemini_body(text: str) -> str:
    parts = [{"text": "let me think {", "thought": True}, {"text": text}]
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 15, "thoughtsTokenCount": 5}
    answer = {"candidates": [{"content": {"parts": parts}}], "usageMetadata": usage}
    return json.dumps({**answer, "modelVersion": "stub-2026-01"})


class Stub:
    """Answers requests by a script; the last entry repeats."""

    def __init__(self) -> None:
        self.script: list[Answer] = [(200, GOOD, {})]
        self.answer: Callable[[dict[str, Any]], Answer] | None = None
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with stub.lock:
                    stub.requests.append((self.path, dict(self.headers), body))
                    step = stub.script[min(len(stub.requests), len(stub.script)) - 1]
                status, text, headers = stub.answer(body) if stub.answer else step
                if status == 200 and not headers.pop("raw", None):
                    text = (gemini_body if "contents" in body else openai_body)(text)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Stub()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def endpoint(stub: Stub, form: str, **settings: Any) -> Endpoint:
    kind = {"openai": OpenAIEndpoint, "gemini": GeminiEndpoint}[form]
    return kind("stub/audio", base_url=stub.url, **{"api_key": KEY, **settings})


def judge(stub: Stub, form: str = "openai", task: JudgeTask = EMOTION, **settings: Any) -> LLMJudge:
    wanted = {"price": Price(request=1.0), "max_cost": 1000.0, "backoff": 0.0, **settings}
    return LLMJudge(endpoint(stub, form), task, **wanted)


def samples(count: int = 1, text: str = "", rate: int = 48000) -> list[Sample]:
    wave = 0.3 * torch.sin(torch.arange(rate // 10) * 0.05)
    return [Sample(f"s{i}", Audio(wave, rate), text=text) for i in range(count)]


@pytest.mark.parametrize("form", FORMATS)
def test_a_right_answer_becomes_a_label(stub: Stub, form: str) -> None:
    one = judge(stub, form)
    assert isinstance(one, Judge)
    before = one.model
    verdicts = one.judge(samples(3))
    assert [verdict.answer for verdict in verdicts] == ["happy"] * 3
    record = json.loads(verdicts[0].raw)
    assert (record["model"], record["said"]) == ("stub-2026-01", GOOD)
    assert date.fromisoformat(record["date"]) - datetime.now(timezone.utc).date() <= timedelta(1)
    assert one.served == (f"stub-2026-01 {record['date']}",)
    # What is kept under this name is not paid for again.
    assert one.model == before == judge(stub, form).model
    assert one.model.name == f"127.0.0.1:{stub.server.server_port}/stub/audio"
    path, headers, body = stub.requests[0]
    if form == "openai":
        assert path == "/v1/chat/completions"
        assert headers["Authorization"] == f"Bearer {KEY}"
        sound, words = body["messages"][0]["content"]
        data, question = sound["input_audio"]["data"], words["text"]
        assert sound["input_audio"]["format"] == "wav"
    else:
        assert path == "/v1/models/stub%2Faudio:generateContent"
        assert {name.lower(): v for name, v in headers.items()}["x-goog-api-key"] == KEY
        sound, words = body["contents"][0]["parts"]
        data, question = sound["inlineData"]["data"], words["text"]
        assert sound["inlineData"]["mimeType"] == "audio/wav"
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert (rate, len(wave)) == (24000, 2400)
    assert abs(wave).max() == pytest.approx(0.3, abs=0.01)
    assert all(f"- {label}:" in question for label in EMOTION.labels)


@pytest.mark.parametrize("form", FORMATS)
def test_tokens_are_charged_as_counted_thoughts_included(stub: Stub, form: str) -> None:
    price = Price(request=0.5, per_1k_input=2.0, per_1k_output=10.0)
    one = judge(stub, form, price=price)
    one.judge(samples(2))
    assert one.cost == pytest.approx(2 * (0.5 + 0.2 + 0.2))


@pytest.mark.parametrize("form", FORMATS)
def test_an_answer_off_the_list_is_kept_and_not_asked_again(stub: Stub, form: str) -> None:
    stub.script = [(200, '{"reasoning": "", "answer": "bored"}', {})]
    (verdict,) = judge(stub, form).judge(samples())
    assert verdict.answer == "bored"
    assert len(stub.requests) == 1


@pytest.mark.parametrize("form", FORMATS)
def test_malformed_then_good(stub: Stub, form: str) -> None:
    stub.script = [
        (200, "It sounds happy to me.", {}),
        (200, "<html>busy</html>", {"raw": "yes"}),
        (200, '```json\n{"reasoning": "a\nb", "answer": " Happy."}\n```', {}),
    ]
    (verdict,) = judge(stub, form).judge(samples())
    assert verdict.answer == "happy"
    assert len(stub.requests) == 3
    first, second = (json.dumps(body) for _, _, body in stub.requests[:2])
    assert "Give only that object" in second
    assert "Give only that object" not in first


def test_never_readable_is_an_error_that_keeps_the_others(stub: Stub) -> None:
    def answer(body: dict[str, Any]) -> Answer:
        data = body["messages"][0]["content"][0]["input_audio"]["data"]
        return (200, GOOD if len(base64.b64decode(data)) > 5000 else "no idea", {})

    stub.answer = answer
    longer = Sample("longer", Audio(torch.ones(24000), 24000))
    with pytest.raises(
        JudgeAnswerError, match=r"1 of 3 samples; for 's0', it said 'no idea'"
    ) as caught:
        judge(stub, attempts=3).judge([longer, samples(rate=24000)[0], longer])
    assert [v and v.answer for v in caught.value.verdicts] == ["happy", None, "happy"]
    assert len(stub.requests) == 2 + 3


@pytest.mark.parametrize("form", FORMATS)
def test_too_many_requests_then_good(stub: Stub, form: str) -> None:
    stub.script = [(429, "slow down", {"Retry-After": "0"}), (503, "", {}), (200, GOOD, {})]
    one = judge(stub, form, backoff=30.0, attempts=2)
    with pytest.raises(JudgeError, match="503"):
        one.judge(samples())
    assert one.judge(samples())[0].answer == "happy"
    assert one.cost == 1.0  # what a server refuses costs nothing


def test_waits_double_unless_the_server_says(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return False

    later = {"Retry-After": "7"}, {"Retry-After": "tomorrow"}, {"Retry-After": "9999"}
    stub.script = [(500, "", {})] * 3 + [(429, "", h) for h in later] + [(200, GOOD, {})]
    one = judge(stub, backoff=2.0, attempts=7)
    assert one._verdict(samples()[0].audio, "?", Stop()).answer == "happy"
    assert waits == [2.0, 4.0, 8.0, 7.0, 32.0, 60.0]


@pytest.mark.parametrize("form", FORMATS)
def test_500_forever_stops_everything(stub: Stub, form: str) -> None:
    stub.script = [(200, GOOD, {}), (500, "broken", {})]
    with pytest.raises(JudgeError, match="500") as caught:
        judge(stub, form, attempts=3, workers=1).judge(samples(5))
    assert [v is not None for v in caught.value.verdicts] == [True, False, False, False, False]
    assert len(stub.requests) == 1 + 3


def test_a_refused_key_is_not_tried_again_but_a_refused_sample_lets_others_be(stub: Stub) -> None:
    stub.script = [(401, "bad key", {})]
    with pytest.raises(JudgeError, match="401"):
        judge(stub).judge(samples())
    assert len(stub.requests) == 1
    stub.script = [(401, "", {}), (400, "audio too short", {}), (200, GOOD, {})]
    with pytest.raises(JudgeAnswerError, match="audio too short") as caught:
        judge(stub, workers=1).judge(samples(2))
    assert [v is not None for v in caught.value.verdicts] == [False, True]


def test_a_timeout_is_tried_again_and_charged(stub: Stub) -> None:
    first = threading.Event()
    hang = threading.Event()

    def answer(body: dict[str, Any]) -> Answer:
        if not first.is_set():
            first.set()
            hang.wait(5)
        return (200, GOOD, {})

    stub.answer = answer
    one = LLMJudge(
        endpoint(stub, "openai", timeout=0.3),
        EMOTION, price=Price(request=1.0), max_cost=10.0, backoff=0.0,
    )  # fmt: skip
    assert one.judge(samples())[0].answer == "happy"
    hang.set()
    assert one.cost == 2.0


def test_nobody_there_costs_nothing(stub: Stub) -> None:
    stub.server.shutdown()
    stub.server.server_close()
    one = judge(stub, attempts=2)
    with pytest.raises(JudgeError, match=r"no answer from 127\.0\.0\.1"):
        one.judge(samples())
    assert one.cost == 0.0


@pytest.mark.parametrize("workers", [1, 4])
def test_the_cost_cap_holds_and_keeps_what_is_done(stub: Stub, workers: int) -> None:
    one = judge(stub, workers=workers, max_cost=3.0)
    with pytest.raises(JudgeBudgetError, match="3 of 8 samples judged") as caught:
        one.judge(samples(8))
    assert one.cost == 3.0
    assert len(stub.requests) == 3
    assert sum(v is not None for v in caught.value.verdicts) == 3
    assert len(caught.value.verdicts) == 8


def test_the_worst_case_is_set_aside_and_what_is_left_is_given_back(stub: Stub) -> None:
    # 4096 tokens may be written, 20 are: with many at once, most have to wait for their turn.
    one = judge(stub, price=Price(per_1k_output=1.0), workers=8, max_cost=4.3)
    assert len(one.judge(samples(10))) == 10
    assert one.cost == pytest.approx(0.2)
    with pytest.raises(JudgeBudgetError):
        judge(stub, price=Price(per_1k_output=1.0), max_cost=4.0).judge(samples())


def test_the_key_is_nowhere(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.script = [(401, f"the key {KEY} is unknown" + "x" * 280, {})]
    for form, variable in (("openai", "OPENAI_API_KEY"), ("gemini", "GEMINI_API_KEY")):
        monkeypatch.setenv(variable, KEY)
        one = judge(stub, form)
        one.endpoint = endpoint(stub, form, api_key=None)
        with pytest.raises(JudgeError) as caught:
            one.judge(samples())
        assert "the key *** is unknown" in str(caught.value)
        seen = "".join(traceback.format_exception(caught.value))
        seen += repr(one) + repr(one.endpoint) + repr(one.model) + repr(vars(one.endpoint))
        assert KEY not in seen
    # Not even when the error page is cut in the middle of it.
    stub.script = [(401, "x" * 290 + KEY, {})]
    with pytest.raises(JudgeError) as caught:
        judge(stub).judge(samples())
    assert KEY[:6] not in str(caught.value)
    stub.script = [(200, GOOD.replace("bright", KEY), {})]
    (verdict,) = judge(stub).judge(samples())
    assert verdict.answer == "happy"
    assert KEY not in verdict.raw


def test_a_redirect_does_not_carry_the_key_away(stub: Stub) -> None:
    stub.script = [(302, "", {"Location": f"{stub.url}/elsewhere"})]
    with pytest.raises(JudgeError, match="302"):
        judge(stub).judge(samples())
    assert [path for path, _, _ in stub.requests] == ["/v1/chat/completions"]


def test_keys_and_addresses_are_checked_first(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(JudgeError, match="OPENAI_API_KEY"):
        OpenAIEndpoint("m")
    with pytest.raises(JudgeError, match="https"):
        OpenAIEndpoint("m", base_url="file:///etc/passwd", api_key="")
    open_server = OpenAIEndpoint("m", base_url=stub.url, api_key="")
    LLMJudge(open_server, EMOTION, price=Price(), max_cost=0).judge(samples())
    assert "Authorization" not in stub.requests[0][1]
    with pytest.raises(ValueError, match="max_cost"):
        judge(stub, max_cost=float("nan"))
    with pytest.raises(ValueError, match="prices"):
        Price(request=-1)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('{"answer": "sad"}', "sad"),
        ('Draft {"answer": "sad"}, no: {"reasoning": "{}", "answer": "fear"} done', "fear"),
        ('{"reasoning": "he said \\"{ha}\\"", "answer": 3}', "3"),
        ('{"answer": 2.0}', "2"),
        ('{broken {"answer": "sad"}', "sad"),
        ('{"answer": true}', None),
        ('{"answer": null}', None),
        ('{"answer": ""}', None),
        ('{"verdict": "sad"}', None),
        ("sad", None),
        ("[" * 100000 + "{" * 100000, None),
        ('{"a":' * 100000, None),
    ],
)
def test_reading_answers(text: str, answer: str | None) -> None:
    assert read_answer(text) == answer


def test_style_answers_are_matched_to_the_published_spelling(stub: Stub) -> None:
    stub.script = [(200, '{"reasoning": "", "answer": "Act Coy"}', {})]
    assert judge(stub, task=STYLE).judge(samples())[0].answer == "act_coy"
    # The published script drops what its own question offers; ours counts every label it offers.
    question = STYLE.ask(samples()[0])
    assert all(f"- {label}:" in question for label in STYLE.labels)
    assert set(STYLE.labels) > {"child", "older", "exaggerated", "recite", "generous", "whisper"}


def test_sounds_are_asked_for_at_their_places(stub: Stub) -> None:
    stub.script = [(200, '{"reasoning": "", "answer": 3}', {})]
    text = '[Sigh] I told you one two three four five [Laughter] "and" that is it.'
    one = judge(stub, task=PARALINGUISTIC)
    assert one.judge(samples(text=text))[0].answer == "3"
    question = stub.requests[0][2]["messages"][0]["content"][1]["text"]
    assert "1. a sigh, at the very beginning" in question
    assert '2. laughter, right after "one two three four five"' in question
    assert json.dumps(text) in question
    with pytest.raises(JudgeError, match="'s0' has no sound tag"):
        one.judge(samples(text="no tag [Loud] here"))
    assert len(stub.requests) == 1


def test_places_of_tags() -> None:
    (first, second) = tag_places("刚跑完步，[Breathing]需要休息[Sigh]。")
    assert (first.tag, first.before, first.after) == ("[Breathing]", "刚跑完步，", "需要休息 。")
    assert first.share == pytest.approx(4 / 8)
    assert second.share == 1.0
    assert tag_places("[Sigh]")[0].share is None
    assert tag_places("plain") == []


def test_the_question_is_part_of_the_version(stub: Stub) -> None:
    versions = {judge(stub, task=task).model.version for task in (EMOTION, STYLE, PARALINGUISTIC)}
    assert len(versions) == 3
    changed = copy.copy(EMOTION)
    object.__setattr__(changed, "ask", lambda sample: "something else")
    assert judge(stub, task=changed).model != judge(stub).model
