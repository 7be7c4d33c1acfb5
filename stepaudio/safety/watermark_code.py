"""The error-correcting code of the payload: 32 bits become 128, read back from soft values.

A tail-biting convolutional code of rate 1/4 with 256 states (generators 463, 535, 733, 745 octal,
free distance 24). Tail-biting means that the register starts as it ends, so that no bits are
spent on closing it and a cyclic shift costs every bit the same protection.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stepaudio.errors import WatermarkError

__all__ = ["CODE_BITS", "PAYLOAD_BITS", "check_payload", "decode", "encode"]

#: Bits a watermark carries.
PAYLOAD_BITS = 32

#: Bits after coding.
CODE_BITS = 128

_MEMORY = 8
_STATES = 1 << _MEMORY
_GENERATORS = (0o463, 0o535, 0o733, 0o745)

# The decoder walks round the circle this often; the middle round has seen both of its ends.
_LAPS = 3


def _signs_of_registers() -> NDArray[np.float64]:
    """``[512, 4]`` the four signs sent for each content of the register, newest bit lowest."""
    contents = range(_STATES << 1)
    parities = [[bin(r & g).count("1") & 1 for g in _GENERATORS] for r in contents]
    return 1.0 - 2.0 * np.array(parities, dtype=np.float64)


_SIGNS = _signs_of_registers()

# State s holds the last 8 bits. It is reached with bit s & 1 from two states: those whose oldest
# bit, which drops out, is 0 or 1.
_BEFORE = np.arange(_STATES)[:, None] >> 1 | np.array([0, _STATES >> 1])
_THROUGH = np.arange(_STATES)[:, None] | np.array([0, _STATES])


def check_payload(payload: int, bits: int = PAYLOAD_BITS) -> int:
    """Refuse what does not fit into the payload.

    Args:
        payload: to embed.
        bits: that the mark carries.

    Returns:
        The payload.

    Raises:
        WatermarkError: not a whole number of so many bits.
    """
    if isinstance(payload, bool) or not isinstance(payload, int) or not 0 <= payload < 1 << bits:
        allowed = f"a whole number in 0..{2**bits - 1}" if bits else "0: this mark carries none"
        raise WatermarkError(f"a payload of {payload!r} cannot be embedded; give {allowed}")
    return payload


def encode(payload: int) -> NDArray[np.float64]:
    """Code a payload.

    Args:
        payload: 32 bits.

    Returns:
        ``[128]`` signs, +1 for a bit of 0 and -1 for a bit of 1.

    Raises:
        WatermarkError: not a whole number of 32 bits.
    """
    check_payload(payload)
    bits = [payload >> i & 1 for i in reversed(range(PAYLOAD_BITS))]
    register = 0
    for bit in bits[-_MEMORY:]:
        register = (register << 1 | bit) & (_STATES - 1)
    sent = []
    for bit in bits:
        register = (register << 1 | bit) & (2 * _STATES - 1)
        sent.append(_SIGNS[register])
    return np.concatenate(sent)


def decode(soft: NDArray[np.float64]) -> int:
    """The most likely payload (Viterbi, circular).

    Args:
        soft: ``[128]`` evidence for each sign: positive for +1, larger for surer.

    Returns:
        A payload, always: whether it means anything shows in the correlation of its code with
        the evidence.
    """
    gains = np.asarray(soft, dtype=np.float64).reshape(PAYLOAD_BITS, -1) @ _SIGNS.T
    metric = np.zeros(_STATES)
    choices = np.empty((_LAPS * PAYLOAD_BITS, _STATES), dtype=np.intp)
    rows = np.arange(_STATES)
    for step in range(_LAPS * PAYLOAD_BITS):
        paths = metric[_BEFORE] + gains[step % PAYLOAD_BITS][_THROUGH]
        choices[step] = paths.argmax(axis=1)
        metric = paths[rows, choices[step]]
    state = int(metric.argmax())
    bits = []
    for step in reversed(range(_LAPS * PAYLOAD_BITS)):
        bits.append(state & 1)
        state = int(_BEFORE[state, choices[step, state]])
    bits.reverse()
    payload = 0
    for bit in bits[PAYLOAD_BITS : 2 * PAYLOAD_BITS]:
        payload = payload << 1 | bit
    return payload
