"""What a speaker is asked to say, and the request that waits for it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch
from trust_fakes import ENCODER, STRANGER, VOICE, store_in

from stepaudio.errors import NoConsentError, OtherVoiceError, RecordError
from stepaudio.safety.consent import utc
from stepaudio.safety.enrolment import HeardVoice, enrol
from stepaudio.safety.phrases import CODE_LENGTH, ask, code_heard, find_request


def test_the_phrase_says_what_is_agreed_to() -> None:
    asked = ask("Ada", "the theatre", ("clone", "train"), scope="the play", days=30)
    assert asked.phrase == (
        "I am Ada and I allow the theatre to make new speech in my voice and to train models on my "
        f"voice for the play until {asked.until[:10]}. My code is: {', '.join(asked.code)}."
    )
    assert len(asked.code) == CODE_LENGTH
    assert utc(asked.until) == utc(asked.asked) + timedelta(days=30)
    chinese = ask("王芳", "剧院", ("edit",), lang="zh").phrase
    assert chinese.startswith("我是王芳，我允许剧院编辑我的录音，有效期至20")
    assert ask("Ada", "x", ("edit",)).code != asked.code


@pytest.mark.parametrize(
    "arguments",
    [
        ("", "x", ("edit",)),
        ("Ada", " ", ("edit",)),
        ("Ada", "x", ()),
        ("Ada", "x", ("sell",)),
    ],
)
def test_nobody_for_nothing(arguments: tuple[str, str, tuple[str, ...]]) -> None:
    with pytest.raises(RecordError):
        ask(*arguments)  # type: ignore[arg-type]
    with pytest.raises(RecordError, match="no phrase in 'xx'"):
        ask("Ada", "x", ("edit",), lang="xx")
    with pytest.raises(RecordError, match="3650 days"):
        ask("Ada", "x", ("edit",), days=0)


@pytest.mark.parametrize(
    ("heard", "count"),
    [
        ("my code is alpha bravo delta", 3),
        ("alpha bravo", 2),
        ("delta bravo alpha", 1),
        ("delta alpha and delta", 2),
        ("bravo delta alpha", 2),
        ("", 0),
    ],
)
def test_how_much_of_a_code_is_heard(heard: str, count: int) -> None:
    assert code_heard(("alpha", "bravo", "delta"), heard) == count


def test_a_request_waits_a_day(tmp_path: Path) -> None:
    asked = ask("Ada", "x", ("edit",), languages=("en", "de"))
    path = asked.save(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert find_request(tmp_path, asked.id) == asked
    late = utc(asked.asked) + timedelta(days=1, seconds=1)
    with pytest.raises(NoConsentError, match="no longer fresh"):
        find_request(tmp_path, asked.id, now=late)
    for name in ("nothing", "../requests/" + asked.id, ""):
        with pytest.raises(NoConsentError, match="no request"):
            find_request(tmp_path, name)
    path.write_text(path.read_text().replace(asked.id, "../../key"))
    with pytest.raises(RecordError, match="damaged"):
        find_request(tmp_path, asked.id)


def test_enrolment(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    asked = ask("Ada", "x", ("clone",), days=5)
    asked.save(store.folder)
    near = torch.tensor([4.0, 3.0, 0.0])  # cosine 0.96 to VOICE
    spoken, prompt = HeardVoice(VOICE, "aa" * 32), HeardVoice(near, "bb" * 32)
    stranger = HeardVoice(STRANGER, "cc" * 32)
    how = {"words": "verified", "store": store, "threshold": 0.9}
    with pytest.raises(OtherVoiceError, match="phrase and the voice to be used do not match"):
        enrol(asked, spoken, stranger, ENCODER, **how)  # type: ignore[arg-type]
    assert find_request(store.folder, asked.id) == asked  # may be tried again
    made, score = enrol(asked, spoken, prompt, ENCODER, **how)  # type: ignore[arg-type]
    assert score == pytest.approx(0.96)
    assert made.fingerprint.recordings == ("aa" * 32, "bb" * 32)
    # The mean of (0.6, 0.8) and (0.8, 0.6) points half way.
    assert made.fingerprint.embedding == (0.707107, 0.707107, 0.0)
    assert (made.phrase, made.expires) == (asked.phrase, asked.until)
    assert made.intact
    assert store.records() == [made]
    with pytest.raises(NoConsentError):
        find_request(store.folder, asked.id)  # served once
