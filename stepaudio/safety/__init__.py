"""Trust: who allowed their voice to be used, where a recording comes from, and a mark in the sound.

`consent` the speaker's signed record; `phrases` what the speaker is asked to say; `matching`
whether it is that voice; `policy` what needs consent. `canonical` what is signed, as bytes;
`keys` Ed25519; `audit` the log; `store` the folder of a machine that holds all three.
`enrolment` takes a consent down. `manifest` one step of a recording's history; `provenance` the
chain of them beside a file; `content_credentials` the same inside the file, as C2PA; `weights`
which model it was; `verification` what a file can prove, in plain words.

`watermark` what a watermarker is, and the door through which sound leaves a pipeline;
`watermark_spread` the built-in one, which marks, finds, reads and localises; `watermark_pattern`
its keyed pattern of time and frequency; `watermark_code` the error-correcting code of its payload;
`watermark_embed` lays the pattern under the sound; `watermark_search` finds its place and speed.
"""

from __future__ import annotations

from stepaudio.safety.consent import ConsentRecord, VoiceFingerprint
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
    "TrustStore",
    "VoiceFingerprint",
    "Watermarker",
    "permit",
]
