"""A model server for tests: the completions protocol with vLLM's additions, on this machine.

It runs one of our language models with its own, separate arithmetic of allowed ids, so that what
a client gets from it can be compared with the model itself. What goes wrong can be scripted.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

from stepaudio.lm.sampling import draw, keep_top_k, keep_top_p
from stepaudio.lm.step1 import Step1LM

MODEL = "stub"

#: What a handler does instead of answering; it gets the handler and writes what it likes.
Mishap = Callable[["Handler"], None]


class Stub:
    """What the server has seen and what it shall do.

    Attributes:
        bodies: of every request for ids.
        headers: of every request.
        mishaps: instead of the next answers, in order.
        drop_after: ids after which an answer breaks off, in the order of answers; None never.
        models: the answer to ``/v1/models``.
        alter: changes an event before it is sent.
        hung_up: requests whose client left before the end.
        pace: seconds per id.
    """

    def __init__(self, lm: Step1LM) -> None:
        self.lm = lm
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.mishaps: list[Mishap] = []
        self.drop_after: list[int | None] = []
        self.models: list[dict[str, Any]] = [
            {"id": MODEL, "max_model_len": lm.config.context_length}
        ]
        self.alter: Callable[[dict[str, Any]], dict[str, Any]] = lambda event: event
        self.hung_up = 0
        self.pace = 0.0
        self.url = ""
        self.lock = threading.Lock()

    @torch.inference_mode()
    def ids(self, body: dict[str, Any]) -> Iterator[int]:
        """Draw as the server's documentation says it does."""
        allowed = torch.full((1, self.lm.spec.vocab_size), float("-inf"))
        allowed[0, body.get("allowed_token_ids", slice(None))] = 0.0
        generator = torch.Generator().manual_seed(body["seed"])
        cache, inputs = self.lm.new_cache(), torch.tensor([body["prompt"]])
        for count in range(body["max_tokens"]):
            with self.lock:
                logits = self.lm.next_logits(inputs, cache).float() + allowed
            if count < body["min_tokens"]:
                logits[0, body["stop_token_ids"]] = float("-inf")
            if body["temperature"] == 0:
                token = int(logits.argmax())
            else:
                logits = keep_top_k(logits / body["temperature"], body["top_k"])
                token = int(draw(keep_top_p(logits, body["top_p"]), [generator]))
            yield token
            if token in body["stop_token_ids"]:
                return
            inputs = torch.tensor([[token]])


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    stub: Stub

    def handle(self) -> None:
        # A client that hangs up may do so while the next request is waited for.
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        self.stub.headers.append(dict(self.headers))
        if self.stub.mishaps:
            self.stub.mishaps.pop(0)(self)
            return
        assert self.path == "/v1/models"
        self.say(200, json.dumps({"object": "list", "data": self.stub.models}))

    def do_POST(self) -> None:
        stub = self.stub
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        stub.headers.append(dict(self.headers))
        if stub.mishaps:
            stub.mishaps.pop(0)(self)
            return
        stub.bodies.append(body)
        assert self.path == "/v1/completions"
        drop = stub.drop_after.pop(0) if stub.drop_after else None
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            token = -1
            for count, token in enumerate(stub.ids(body)):
                if count == drop:
                    self.close_connection = True
                    return
                time.sleep(stub.pace)
                self.event({"token_ids": [token], "finish_reason": None})
            reason = "stop" if token in body["stop_token_ids"] else "length"
            self.event({"token_ids": [], "finish_reason": reason})
            self.chunk("data: [DONE]\n\n")
            self.chunk("")
        except OSError:
            stub.hung_up += 1

    def say(self, status: int, text: str, **headers: str) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def event(self, choice: dict[str, Any]) -> None:
        event = {"object": "text_completion", "choices": [{"index": 0, "text": "", **choice}]}
        self.chunk(f"data: {json.dumps(self.stub.alter(event))}\n\n")

    def chunk(self, text: str) -> None:
        self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())
        self.wfile.flush()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(lm: Step1LM) -> Iterator[Stub]:
    """A stub that serves a model while the block runs."""
    stub = Stub(lm)
    handler = type("OneStub", (Handler,), {"stub": stub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    stub.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def status(code: int, text: str = "", **headers: str) -> Mishap:
    """Answer with a status."""
    return lambda handler: handler.say(code, text, **headers)
