"""A conformance suite for anybody's implementation of the interfaces.

Give a check an object; it returns nothing when the object keeps the contract of its interface and
raises :class:`ConformanceError` with one sentence when it does not. The checks need only the core
dependencies, build small inputs from the object's own spec and run on the CPU in float32. Weights
may be random, but not zero, since what changes nothing cannot be told from what is ignored::

    from stepaudio.testing import check_vocoder

    check_vocoder(MyVocoder())

A text tokenizer has no spec; its check is also given the codebooks it shall name.
"""

from __future__ import annotations

from stepaudio.testing.flow_decoder import check_flow_decoder
from stepaudio.testing.rules import ConformanceError
from stepaudio.testing.speaker_encoder import check_speaker_encoder
from stepaudio.testing.speech_lm import check_speech_lm
from stepaudio.testing.text_tokenizer import check_text_tokenizer
from stepaudio.testing.tokenizer import check_tokenizer
from stepaudio.testing.training import check_policy, check_reward_model
from stepaudio.testing.vocoder import check_vocoder

__all__ = [
    "ConformanceError",
    "check_flow_decoder",
    "check_policy",
    "check_reward_model",
    "check_speaker_encoder",
    "check_speech_lm",
    "check_text_tokenizer",
    "check_tokenizer",
    "check_vocoder",
]
