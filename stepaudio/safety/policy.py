"""What is allowed with whose voice: one small object, and one function that asks it.

``standard`` is the default: cloning needs consent, editing keeps provenance. ``strict`` asks for
consent to edits too and for words that were listened to. ``research`` asks for nothing, is
written into the audit log and stamped into every result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

from torch import Tensor

from stepaudio.errors import (
    ConsentExpiredError,
    ConsentRevokedError,
    NoConsentError,
    PurposeError,
    SafetyError,
    SignatureError,
    WordsError,
)
from stepaudio.safety.consent import ConsentRecord, Purpose, utc
from stepaudio.safety.keys import key_name
from stepaudio.safety.matching import MatchLevel, match_voice
from stepaudio.safety.store import TrustStore

__all__ = [
    "POLICIES",
    "Permit",
    "PolicyName",
    "SafetyPolicy",
    "check_record",
    "permit",
    "training_refusals",
]

PolicyName = Literal["strict", "standard", "research"]

# What a name promises: purposes that need a record, words that were heard, how voices are compared.
_RULES: dict[PolicyName, tuple[frozenset[Purpose], bool, MatchLevel]] = {
    "strict": (frozenset({"clone", "edit", "train"}), True, "careful"),
    "standard": (frozenset({"clone", "train"}), False, "balanced"),
    "research": (frozenset(), False, "balanced"),
}

_DOING = {
    "clone": "speaking new words in somebody's voice",
    "edit": "editing a recording",
    "train": "training on somebody's voice",
}


@dataclass(frozen=True)
class SafetyPolicy:
    """How careful to be; take one with :meth:`of` unless you need a threshold of your own.

    A result is stamped with the name, so no rule may be weaker than those the name stands for; only
    the threshold is free.

    Attributes:
        name: stamped into every result.
        consent_for: purposes that need a record.
        verified_words: the words of consent must have been heard by a recogniser.
        match: which measured threshold voices are compared with.
        threshold: one of your own, for speaker encoders that nobody has measured.

    Raises:
        SafetyError: there is no policy of that name, or a rule is weaker than its.
    """

    name: PolicyName = "standard"
    consent_for: frozenset[Purpose] = frozenset({"clone", "train"})
    verified_words: bool = False
    match: MatchLevel = "balanced"
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.name not in _RULES:
            raise SafetyError(_no_policy(self.name))
        needed, verified, match = _RULES[self.name]
        weaker = {
            "consent_for": not needed.issubset(self.consent_for),
            "verified_words": verified and not self.verified_words,
            "match": self.match not in (match, "careful"),
        }
        if any(weaker.values()):
            rules = ", ".join(rule for rule, is_weaker in weaker.items() if is_weaker)
            raise SafetyError(
                f"{rules} of this policy would be weaker than its name {self.name!r} says, with "
                f"which results are stamped; take SafetyPolicy.of({self.name!r}), or ask for "
                "'research', which needs no record and is logged"
            )

    @classmethod
    def of(cls, policy: SafetyPolicy | str | None) -> SafetyPolicy:
        """What a caller means.

        Args:
            policy: one, or ``"strict"``, ``"standard"`` or ``"research"``; None is the default.

        Returns:
            The policy.

        Raises:
            SafetyError: there is no such policy.
        """
        if isinstance(policy, SafetyPolicy):
            return policy
        name = "standard" if policy is None else policy
        if name not in POLICIES:
            raise SafetyError(_no_policy(name))
        return POLICIES[name]

    def require(self, purpose: Purpose, consent: ConsentRecord | None) -> None:
        """Refuse what needs a record and has none, before any work is done.

        Args:
            purpose: what the voice is wanted for.
            consent: the speaker's record.

        Raises:
            NoConsentError: says how to get one.
        """
        if consent is None and purpose in self.consent_for:
            raise NoConsentError(
                f"{_DOING[purpose]} needs the speaker's consent under the policy {self.name!r}; "
                f"take it down with: stepaudio consent record --speaker NAME --purpose {purpose}, "
                "then pass the record as consent; for research on voices you may use, ask for the "
                "policy 'research', which is logged and stamped into the result"
            )


#: The three by name; ``standard`` is the default.
POLICIES: dict[str, SafetyPolicy] = {
    name: SafetyPolicy(name, *rules) for name, rules in _RULES.items()
}


def _no_policy(name: str) -> str:
    return f"there is no policy {name!r}; choose one of {', '.join(_RULES)}"


@dataclass(frozen=True)
class Permit:
    """What was allowed, to be stamped into the result.

    Attributes:
        policy: its name.
        purpose: what for.
        consent: id of the record; None if none was needed and none given.
        score: similarity of the voices, where they were compared.
    """

    policy: PolicyName
    purpose: Purpose
    consent: str | None = None
    score: float | None = None


def permit(
    policy: SafetyPolicy,
    purpose: Purpose,
    consent: ConsentRecord | None,
    voice: Tensor | None,
    encoder: str,
    *,
    store: TrustStore | None = None,
) -> Permit:
    """Allow something or refuse it, and write into the audit log what needs to be known later.

    A record that is given is checked under every policy. Nothing is read or written where no
    record is given and none is needed, except under ``research``, which is always logged.

    Args:
        policy: how careful to be.
        purpose: what the voice is wanted for.
        consent: the speaker's record.
        voice: ``[D]`` embedding of the voice; only needed with a record.
        encoder: digest of the speaker encoder that made it.
        store: keys and log; None is this machine's.

    Returns:
        What was allowed.

    Raises:
        NoConsentError: a record is needed.
        ConsentError: the record does not allow it; see :func:`check_record`.
        SignatureError: the record was changed, or signed by a stranger.
        AuditLogError: the log was altered or shortened.
    """
    policy.require(purpose, consent)
    if consent is None:
        if policy.name == "research":
            store = TrustStore() if store is None else store
            store.log.append("done without consent", policy=policy.name, purpose=purpose)
        return Permit(policy.name, purpose)
    store = TrustStore() if store is None else store
    check_record(consent, purpose, store, verified_words=policy.verified_words)
    assert voice is not None
    score, _ = match_voice(
        voice, consent.fingerprint, encoder, level=policy.match, threshold=policy.threshold
    )
    store.log.append(
        "consent used",
        consent=consent.id,
        policy=policy.name,
        purpose=purpose,
        score=f"{score:.3f}",
    )
    return Permit(policy.name, purpose, consent.id, round(score, 4))


def check_record(
    record: ConsentRecord,
    purpose: Purpose | None,
    store: TrustStore,
    *,
    verified_words: bool = False,
    now: datetime | None = None,
) -> None:
    """Refuse a record that is not valid here and now; whose voice it is, is not looked at.

    Args:
        record: to check.
        purpose: that it must cover; None asks for none.
        store: knows the trusted keys and what was revoked.
        verified_words: the words must have been listened to.
        now: None is the current time.

    Raises:
        SignatureError: it was changed, or signed by a key that is not trusted.
        AuditLogError: the log was altered, so nobody can say whether it was revoked.
        ConsentRevokedError: the speaker took it back.
        ConsentExpiredError: it has ended, or has not begun.
        PurposeError: it does not cover the purpose.
        WordsError: nobody listened to the words.
    """
    if not record.intact:
        raise SignatureError(
            f"the consent record {record.id} was changed after it was signed; use the original"
        )
    if not store.trusts(record.key):
        raise SignatureError(
            f"the consent record {record.id} is signed by the key {key_name(record.key)}, which is "
            f"not trusted here; if you know whose it is, add the line {record.key} to "
            f"{store.folder / 'trusted_keys'}"
        )
    if record.id in store.revoked():
        raise ConsentRevokedError(
            f"{record.speaker} has taken back the consent {record.id}; the voice must not be used"
        )
    now = datetime.now(timezone.utc) if now is None else now
    if now >= utc(record.expires):
        raise ConsentExpiredError(
            f"the consent {record.id} of {record.speaker} ended at {record.expires}; ask again "
            "with: stepaudio consent record"
        )
    if now < utc(record.given):
        raise ConsentExpiredError(
            f"the consent {record.id} of {record.speaker} begins at {record.given}; it is "
            f"{now.isoformat(timespec='seconds')} by this machine's clock"
        )
    if purpose is not None and purpose not in record.purposes:
        raise PurposeError(
            f"{record.speaker} allows {' and '.join(record.purposes)}, not {purpose}; ask with: "
            f"stepaudio consent record --purpose {purpose}"
        )
    if verified_words and record.words != "verified":
        raise WordsError(
            f"nobody has listened to the words of the consent {record.id}; record it again with "
            "pip install 'stepaudio[eval]' for a recogniser, or use the policy 'standard'"
        )


def training_refusals(
    names: Iterable[str], *, store: TrustStore | None = None
) -> dict[str, SafetyError]:
    """Which of the records that training data names do not allow training.

    Whether the recordings are of the voice that consented is not looked at.

    Args:
        names: ids or files of records, as manifests give them.
        store: keys, log and records; None is this machine's.

    Returns:
        For each that does not, what :func:`check_record` refuses, or that there is no such record.
    """
    store = TrustStore() if store is None else store
    refusals: dict[str, SafetyError] = {}
    for name in sorted(set(names)):
        try:
            check_record(store.find(name), "train", store)
        except SafetyError as error:
            refusals[name] = error
    return refusals
