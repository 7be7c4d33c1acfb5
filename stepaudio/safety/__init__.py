"""Trust: who allowed their voice to be used, and where a recording comes from.

`consent` the speaker's signed record; `phrases` what the speaker is asked to say; `matching`
whether it is that voice; `policy` what needs consent. `canonical` what is signed, as bytes;
`keys` Ed25519; `audit` the log; `store` the folder of a machine that holds all three.
`enrolment` takes a consent down. `manifest` one step of a recording's history; `provenance` the
chain of them beside a file; `content_credentials` the same inside the file, as C2PA; `weights`
which model it was; `verification` what a file can prove, in plain words.
"""

from __future__ import annotations

from stepaudio.safety.consent import ConsentRecord, VoiceFingerprint
from stepaudio.safety.policy import Permit, SafetyPolicy, permit
from stepaudio.safety.provenance import Provenance, Sidecar
from stepaudio.safety.store import TrustStore

__all__ = [
    "ConsentRecord",
    "Permit",
    "Provenance",
    "SafetyPolicy",
    "Sidecar",
    "TrustStore",
    "VoiceFingerprint",
    "permit",
]
