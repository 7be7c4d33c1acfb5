from __future__ import annotations

from collections.abc import Iterator

import pytest

from stepaudio.errors import CancelledError
from stepaudio.result import Run


def test_time_of_stages_within_stages_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("stepaudio.result.time.perf_counter", lambda: now[0])

    def work(seconds: float, items: Iterator[int]) -> Iterator[int]:
        for item in items:
            now[0] += seconds
            yield item

    run = Run()
    codes = run.follow("generate", work(2.0, iter(range(3))))
    mels = run.follow("decode", work(5.0, codes))
    for _ in run.follow("vocode", work(0.5, mels)):
        now[0] += 100.0  # the listener's own time
    assert run.share(1) == {
        "tokenize": 0.0, "voice": 0.0, "generate": 6.0, "decode": 15.0, "vocode": 1.5,
    }  # fmt: skip


def test_closing_and_cancelling_reach_the_work() -> None:
    closed: list[str] = []

    def work() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append("work")

    followed = Run().follow("generate", work())
    next(followed)
    followed.close()
    assert closed == ["work"]
    wanted = [False, True]
    cancelled = Run(cancel=lambda: wanted.pop(0)).follow("generate", work())
    next(cancelled)
    with pytest.raises(CancelledError):
        next(cancelled)
    assert closed == ["work", "work"]
    assert list(Run().follow("generate", iter([1, 2]))) == [1, 2]
