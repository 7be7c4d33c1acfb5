"""The code of the payload: what is sent, and how much damage it stands."""

from __future__ import annotations

import numpy as np
import pytest

from stepaudio.errors import WatermarkError
from stepaudio.safety.watermark_code import CODE_BITS, PAYLOAD_BITS, decode, encode


def test_nothing_is_all_plus() -> None:
    assert encode(0).tolist() == [1.0] * CODE_BITS


def test_a_single_bit_sends_the_generators() -> None:
    # The bit passes through the 9 places of the register; at place k each of the four outputs
    # flips where bit k of its generator is set. The last bit of the payload is sent last, so its
    # further 8 steps wrap round to the beginning.
    sent = encode(1).reshape(PAYLOAD_BITS, 4)
    for place in range(9):
        flipped = [g >> place & 1 == 1 for g in (0o463, 0o535, 0o733, 0o745)]
        assert (sent[(PAYLOAD_BITS - 1 + place) % PAYLOAD_BITS] < 0).tolist() == flipped
    assert (sent[8:31] > 0).all()
    assert (sent < 0).sum() == 24  # the free distance


def test_a_turned_payload_is_a_turned_code() -> None:
    payload = 0x8F3A5C21
    turned = (payload << 1 | payload >> 31) & 0xFFFFFFFF
    assert np.array_equal(encode(turned), np.roll(encode(payload), -4))


def test_noise_as_strong_as_the_signal_is_corrected() -> None:
    rng = np.random.default_rng(0)
    for payload in rng.integers(0, 1 << 32, 10).tolist():
        assert decode(encode(payload) + rng.standard_normal(CODE_BITS)) == payload


@pytest.mark.parametrize("payload", [-1, 1 << 32, 1.0, True, "1", None])
def test_other_payloads_are_refused(payload: object) -> None:
    with pytest.raises(WatermarkError, match=r"whole number in 0\.\.4294967295"):
        encode(payload)  # type: ignore[arg-type]
