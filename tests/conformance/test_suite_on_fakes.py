"""The conformance suite accepts the fakes, and needs no test framework."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from fakes import (
    TOKENS,
    FakeFlowDecoder,
    FakeLM,
    FakePolicy,
    FakeRewardModel,
    FakeSpeakerEncoder,
    FakeTextTokenizer,
    FakeTokenizer,
    FakeVocoder,
)

from stepaudio import testing


@pytest.mark.parametrize(
    ("check", "good"),
    [
        (testing.check_tokenizer, FakeTokenizer),
        (testing.check_speech_lm, FakeLM),
        (testing.check_flow_decoder, FakeFlowDecoder),
        (testing.check_vocoder, FakeVocoder),
        (testing.check_reward_model, FakeRewardModel),
        (testing.check_policy, FakePolicy),
        (testing.check_speaker_encoder, FakeSpeakerEncoder),
        (partial(testing.check_text_tokenizer, tokens=TOKENS), FakeTextTokenizer),
    ],
)
def test_the_fakes_conform(check: Callable[[Any], None], good: type) -> None:
    check(good())


def test_the_suite_needs_no_test_framework() -> None:
    code = (
        "import sys, stepaudio.testing; "
        "sys.exit(bool({'pytest', '_pytest', 'hypothesis'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
