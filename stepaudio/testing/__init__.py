"""A conformance suite for anybody's implementation of the six interfaces.

Give a check an object; it returns nothing when the object keeps the contract of its interface and
raises :class:`ConformanceError` with one sentence when it does not. The checks need only the core
dependencies, build small inputs from the object's own spec and run on the CPU::

    from stepaudio.testing import check_vocoder

    check_vocoder(MyVocoder())
"""

from __future__ import annotations

from stepaudio.testing.flow_decoder import check_flow_decoder
from stepaudio.testing.rules import ConformanceError
from stepaudio.testing.speech_lm import check_speech_lm
from stepaudio.testing.tokenizer import check_tokenizer
from stepaudio.testing.training import check_policy, check_reward_model
from stepaudio.testing.vocoder import check_vocoder

__all__ = [
    "ConformanceError",
    "check_flow_decoder",
    "check_policy",
    "check_reward_model",
    "check_speech_lm",
    "check_tokenizer",
    "check_vocoder",
]
