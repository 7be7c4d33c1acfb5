"""Every failure the library raises on purpose.

All errors derive from :class:`StepAudioError`, so a host can catch one type. Each message names
the input that was wrong and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "AudioError",
    "AuditLogError",
    "CancelledError",
    "CheckpointError",
    "ConfigError",
    "ConsentError",
    "ConsentExpiredError",
    "ConsentRevokedError",
    "DataError",
    "DeviceError",
    "EditError",
    "EvaluationError",
    "GenerationError",
    "JudgeAnswerError",
    "JudgeBudgetError",
    "JudgeError",
    "MissingExtraError",
    "NoConsentError",
    "NotServedError",
    "OtherVoiceError",
    "OutputExistsError",
    "PromptError",
    "PurposeError",
    "RecordError",
    "SafetyError",
    "ServerError",
    "SignatureError",
    "SpecMismatchError",
    "StepAudioError",
    "TokenError",
    "TrainingError",
    "WatermarkError",
    "WordsError",
]


class StepAudioError(Exception):
    """Base class of every error raised by stepaudio."""


class AudioError(StepAudioError, ValueError):
    """A recording cannot be read or used: unreadable file, NaN, empty, absurd rate or length."""


class TokenError(StepAudioError, ValueError):
    """A token stream is malformed: wrong order, out of range, or not whole units."""


class SpecMismatchError(StepAudioError, ValueError):
    """Two parts of a pipeline do not fit each other."""


class CheckpointError(StepAudioError, ValueError):
    """A checkpoint is missing, incomplete or does not match its configuration."""


class DeviceError(StepAudioError, ValueError, RuntimeError):
    """A device or a number type is unknown or not there; torch's own error is a RuntimeError."""


class EditError(StepAudioError, ValueError):
    """An edit request makes no sense: unknown label, missing text, bad span."""


class PromptError(StepAudioError, ValueError):
    """A prompt cannot be built or does not fit the model's context."""


class GenerationError(StepAudioError, RuntimeError):
    """The language model returned nothing that can be decoded."""


class DataError(StepAudioError, ValueError):
    """Training data is not what it should be: a manifest, shards of codes, rows or ratings."""


class EvaluationError(StepAudioError, ValueError):
    """A benchmark file, a manifest or a folder of results is not what a measurement needs."""


class CancelledError(StepAudioError):
    """The caller asked to stop."""


class ConfigError(StepAudioError, ValueError):
    """A setting is unknown, of the wrong type or makes no sense."""


class TrainingError(StepAudioError, RuntimeError):
    """A training cannot go on: it diverged, or this process cannot run it."""


class OutputExistsError(StepAudioError, FileExistsError):
    """The output file exists and overwriting was not requested."""


class JudgeError(StepAudioError, RuntimeError):
    """A judge cannot say what it hears.

    Args:
        message: what went wrong, for people.
        verdicts: what it had said until then, in the order of the samples; None where nothing
            was. Empty if it had not begun. Kept as an attribute.
    """

    def __init__(self, message: str, verdicts: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.verdicts = tuple(verdicts)


class JudgeAnswerError(JudgeError):
    """Some samples have no answer that can be read; all others are in ``verdicts``."""


class JudgeBudgetError(JudgeError):
    """The next question could cost more than the caller allows; ``verdicts`` holds what is done."""


class ServerError(StepAudioError, RuntimeError):
    """A model server cannot be reached, refuses, or answers what makes no sense.

    Args:
        message: what happened, without the key.
        again: another try may help.
        wait: seconds the server asks to wait before it; None if it does not say. Both are kept
            as attributes.
    """

    def __init__(self, message: str, *, again: bool = False, wait: float | None = None) -> None:
        super().__init__(message)
        self.again, self.wait = again, wait


class NotServedError(StepAudioError, ValueError):
    """A model behind a server was asked for something that its protocol cannot give."""


class MissingExtraError(StepAudioError, ImportError):
    """An optional dependency is needed; the message names the extra to install."""


class SafetyError(StepAudioError):
    """Base class of what consent, its log and provenance refuse."""


class RecordError(SafetyError, ValueError):
    """A consent record, a log, a key or a provenance file is damaged or says what cannot be."""


class SignatureError(SafetyError):
    """What was signed has been changed, or was signed by a key that nobody here trusts."""


class AuditLogError(SafetyError):
    """The audit log was altered, shortened or taken away."""


class ConsentError(SafetyError):
    """Base class of what a consent record does not allow."""


class NoConsentError(ConsentError):
    """The policy asks for a consent record and none was given."""


class ConsentExpiredError(ConsentError):
    """The consent has ended, or has not begun."""


class ConsentRevokedError(ConsentError):
    """The speaker has taken the consent back."""


class PurposeError(ConsentError):
    """The consent does not cover what is asked for."""


class OtherVoiceError(ConsentError):
    """The voice is not, or cannot be shown to be, the one that consented."""


class WordsError(ConsentError):
    """The words of consent were not heard, or the policy asks that somebody listens to them."""


class WatermarkError(StepAudioError, RuntimeError):
    """Sound cannot be marked, or asked to be marked with something that is no payload."""
