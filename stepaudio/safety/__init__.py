"""Trust: who allowed their voice to be used, where a recording comes from, and a mark in the sound.

- :mod:`~stepaudio.safety.consent`: the speaker's signed record
- :mod:`~stepaudio.safety.phrases`: what the speaker is asked to say
- :mod:`~stepaudio.safety.enrolment`: takes a consent down
- :mod:`~stepaudio.safety.matching`: whether it is that voice
- :mod:`~stepaudio.safety.policy`: what needs consent
- :mod:`~stepaudio.safety.canonical`: what is signed, as bytes
- :mod:`~stepaudio.safety.keys`: Ed25519
- :mod:`~stepaudio.safety.audit`: the log that shows changes and cuts
- :mod:`~stepaudio.safety.store`: the folder of a machine that holds keys, records and log
- :mod:`~stepaudio.safety.manifest`: one step of a recording's history
- :mod:`~stepaudio.safety.provenance`: the chain of steps beside a file
- :mod:`~stepaudio.safety.content_credentials`: the same inside the file, as C2PA
- :mod:`~stepaudio.safety.claim_signature`: which key signed what is inside the file
- :mod:`~stepaudio.safety.weights`: which model it was
- :mod:`~stepaudio.safety.verification`: what a file can prove, in plain words
- :mod:`~stepaudio.safety.detector`: whether it sounds made by a machine
- :mod:`~stepaudio.safety.detector_network`: the network that hears it
- :mod:`~stepaudio.safety.watermark`: what a watermarker is, and the door through which sound leaves
- :mod:`~stepaudio.safety.watermark_spread`: the built-in one: marks, finds, reads, localises
- :mod:`~stepaudio.safety.watermark_pattern`: its keyed pattern of time and frequency
- :mod:`~stepaudio.safety.watermark_code`: the error-correcting code of its payload
- :mod:`~stepaudio.safety.watermark_embed`: laying the pattern under the sound, piece by piece
- :mod:`~stepaudio.safety.watermark_search`: finding its place and speed
- :mod:`~stepaudio.safety.watermark_audioseal`: AudioSeal instead, 16 bits; an extra
- :mod:`~stepaudio.safety.watermark_perth`: Perth instead, no payload; an extra
- :mod:`~stepaudio.safety.watermark_blocks`: what networks at a rate of their own mark with
"""

from __future__ import annotations

from stepaudio.safety.consent import ConsentRecord, VoiceFingerprint
from stepaudio.safety.detector import SyntheticSpeechDetector
from stepaudio.safety.policy import Permit, SafetyPolicy, permit
from stepaudio.safety.provenance import Provenance, Sidecar
from stepaudio.safety.store import TrustStore
from stepaudio.safety.watermark import Detection, MarkNote, Watermarker
from stepaudio.safety.watermark_spread import SpreadSpectrum

__all__ = [
    "ConsentRecord",
    "Detection",
    "MarkNote",
    "Permit",
    "Provenance",
    "SafetyPolicy",
    "Sidecar",
    "SpreadSpectrum",
    "SyntheticSpeechDetector",
    "TrustStore",
    "VoiceFingerprint",
    "Watermarker",
    "permit",
]
