"""Every way a policy refuses, and what it writes down when it does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from trust_fakes import ENCODER, NOW, STRANGER, VOICE, record, store_in

from stepaudio.errors import (
    AuditLogError,
    ConsentError,
    ConsentExpiredError,
    ConsentRevokedError,
    NoConsentError,
    OtherVoiceError,
    PurposeError,
    SafetyError,
    SignatureError,
    StepAudioError,
    WordsError,
)
from stepaudio.safety.matching import match_voice, measured
from stepaudio.safety.policy import POLICIES, Permit, SafetyPolicy, check_record, permit
from stepaudio.safety.store import TrustStore

STANDARD = SafetyPolicy(threshold=0.8)


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return store_in(tmp_path)


def test_three_policies() -> None:
    assert [POLICIES[name].name for name in POLICIES] == ["strict", "standard", "research"]
    assert SafetyPolicy.of(None) == SafetyPolicy() == POLICIES["standard"]
    assert SafetyPolicy.of(STANDARD) is STANDARD
    needs = {name: set(one.consent_for) for name, one in POLICIES.items()}
    assert needs == {
        "strict": {"clone", "edit", "train"},
        "standard": {"clone", "train"},
        "research": set(),
    }
    with pytest.raises(SafetyError, match="choose one of strict, standard, research"):
        SafetyPolicy.of("none")


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"consent_for": frozenset()}, "consent_for of this policy"),
        ({"consent_for": frozenset({"train", "edit"})}, "weaker than its name 'standard'"),
        ({"match": "none"}, "match of this policy"),
        ({"name": "strict"}, r"consent_for, verified_words, match .* SafetyPolicy\.of\('strict'\)"),
        ({"name": "custom"}, "no policy 'custom'; choose one of strict, standard, research"),
    ],
)
def test_rules_weaker_than_the_name(chosen: dict[str, Any], told: str) -> None:
    """Results are stamped with the name, and only ``research`` is logged."""
    with pytest.raises(SafetyError, match=told):
        SafetyPolicy(**chosen)
    for field in chosen.keys() - {"name"}:
        with pytest.raises(SafetyError, match=field):
            replace(SafetyPolicy.of("strict"), **{field: chosen[field]})


def test_stricter_rules_and_any_threshold() -> None:
    every = frozenset({"clone", "edit", "train"})
    SafetyPolicy("standard", every, verified_words=True, match="careful", threshold=0.1)
    assert replace(SafetyPolicy.of("strict"), threshold=0.1).match == "careful"
    assert SafetyPolicy("research").consent_for == {"clone", "train"}


def test_allowed(store: TrustStore) -> None:
    made = record(store)
    allowed = permit(STANDARD, "clone", made, VOICE * 7, ENCODER, store=store)
    assert allowed == Permit("standard", "clone", made.id, 1.0)
    (entry,) = store.log.entries()
    assert entry.event == "consent used"
    assert entry.details == {
        "consent": made.id,
        "policy": "standard",
        "purpose": "clone",
        "score": "1.000",
    }


def test_no_record(store: TrustStore) -> None:
    for name, purpose in (("standard", "clone"), ("standard", "train"), ("strict", "edit")):
        with pytest.raises(NoConsentError, match=f"consent record .* --purpose {purpose}"):
            permit(SafetyPolicy.of(name), purpose, None, None, ENCODER, store=store)  # type: ignore[arg-type]


def test_editing_needs_none_and_touches_nothing(store: TrustStore) -> None:
    assert permit(STANDARD, "edit", None, None, ENCODER, store=store) == Permit("standard", "edit")
    assert not store.folder.exists()


def test_research_is_logged(store: TrustStore) -> None:
    research = SafetyPolicy.of("research")
    assert permit(research, "clone", None, VOICE, ENCODER, store=store).policy == "research"
    (entry,) = store.log.entries()
    assert entry.details == {"policy": "research", "purpose": "clone"}


def test_a_bad_record_is_refused_even_for_research(store: TrustStore) -> None:
    forged = replace(record(store), speaker="Eve")
    with pytest.raises(SignatureError, match="was changed"):
        permit(SafetyPolicy.of("research"), "clone", forged, VOICE, ENCODER, store=store)


def test_other_voice(store: TrustStore) -> None:
    with pytest.raises(OtherVoiceError, match=r"similarity is 0\.60 and must be at least 0\.80"):
        permit(STANDARD, "clone", record(store), STRANGER, ENCODER, store=store)
    silent = torch.full((3,), float("nan"))
    with pytest.raises(OtherVoiceError):
        permit(STANDARD, "clone", record(store), silent, ENCODER, store=store)
    assert store.log.entries() == []


def test_other_encoders_are_not_compared(store: TrustStore) -> None:
    with pytest.raises(OtherVoiceError, match="another model's speaker encoder"):
        permit(STANDARD, "clone", record(store), VOICE, "f" * 32, store=store)


def test_an_encoder_that_nobody_measured(store: TrustStore) -> None:
    with pytest.raises(OtherVoiceError, match="nobody has measured"):
        permit(SafetyPolicy(), "clone", record(store), VOICE, ENCODER, store=store)


def test_measured_thresholds(store: TrustStore) -> None:
    """``careful`` asks for more; both are those of the file."""
    encoder = measured()["encoder"]
    kept = record(store, VOICE, encoder).fingerprint
    levels = {
        level: match_voice(VOICE, kept, encoder, level=level)[1]  # type: ignore[arg-type]
        for level in ("balanced", "careful")
    }
    assert levels == {
        level: measured()["thresholds"][level]["score"] for level in ("balanced", "careful")
    }
    assert levels["careful"] > levels["balanced"]


def test_expired_and_not_begun(store: TrustStore) -> None:
    times = {
        "given": NOW.isoformat(),
        "expires": (NOW + timedelta(days=30)).isoformat(),
    }
    made = record(store, **times)
    check_record(made, "clone", store, now=NOW)
    with pytest.raises(ConsentExpiredError, match="ended at 2026-12-22"):
        check_record(made, "clone", store, now=NOW + timedelta(days=30))
    with pytest.raises(ConsentExpiredError, match="begins at 2026-11-22"):
        check_record(made, "clone", store, now=NOW - timedelta(seconds=1))


def test_revoked(store: TrustStore) -> None:
    made, other = record(store), record(store, speaker="Bo")
    store.revoke(made)
    with pytest.raises(ConsentRevokedError, match="Ada has taken back"):
        permit(STANDARD, "clone", made, VOICE, ENCODER, store=store)
    permit(STANDARD, "clone", other, VOICE, ENCODER, store=store)


def test_purpose(store: TrustStore) -> None:
    with pytest.raises(PurposeError, match="Ada allows clone, not train"):
        permit(STANDARD, "train", record(store), VOICE, ENCODER, store=store)


def test_changed_record(store: TrustStore) -> None:
    longer = replace(record(store), expires="2099-01-01T00:00:00+00:00")
    with pytest.raises(SignatureError, match="use the original"):
        permit(STANDARD, "clone", longer, VOICE, ENCODER, store=store)


def test_unknown_signer(store: TrustStore, tmp_path: Path) -> None:
    desk = TrustStore(tmp_path / "desk")
    made = record(desk)
    with pytest.raises(SignatureError, match="not trusted here"):
        permit(STANDARD, "clone", made, VOICE, ENCODER, store=store)
    _ = store.key
    (store.folder / "trusted_keys").write_text(f"{desk.key.public} desk\n")
    permit(STANDARD, "clone", made, VOICE, ENCODER, store=store)


def test_altered_log(store: TrustStore) -> None:
    made = record(store)
    store.revoke(made)
    (store.folder / "audit.jsonl").write_bytes(b"")
    with pytest.raises(AuditLogError, match="was shortened"):
        permit(STANDARD, "clone", made, VOICE, ENCODER, store=store)


def test_unheard_words(store: TrustStore) -> None:
    made = record(store, words="unverified", purposes=("edit",))
    strict = replace(SafetyPolicy.of("strict"), threshold=0.8)
    with pytest.raises(WordsError, match="nobody has listened"):
        permit(strict, "edit", made, VOICE, ENCODER, store=store)
    permit(STANDARD, "edit", made, VOICE, ENCODER, store=store)


def test_one_type_for_all() -> None:
    for kind in (SignatureError, AuditLogError, ConsentError):
        assert issubclass(kind, SafetyError)
        assert issubclass(kind, StepAudioError)
