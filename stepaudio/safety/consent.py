"""A speaker's consent: who, to whom, for what, until when, and whose voice (VALL-E 2, section 5).

A record is a small signed JSON file. The signature is that of whoever took the consent down: it
says that this party heard the speaker say the phrase, and that nothing was changed since.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args

from stepaudio.errors import RecordError
from stepaudio.hub import write_atomic
from stepaudio.safety.canonical import Fields, canonical, digest, parse
from stepaudio.safety.keys import SigningKey, signature_fits

__all__ = ["PURPOSES", "ConsentRecord", "Purpose", "VoiceFingerprint", "WordsLevel", "utc"]

#: What a consent can allow: new words in the voice, changes to recordings, training on them.
Purpose = Literal["clone", "edit", "train"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

#: Whether somebody or something listened to the words of the consent.
WordsLevel = Literal["verified", "unverified"]

_VERSION = 1
_FIELDS = (
    "version",
    "speaker",
    "asked_by",
    "purposes",
    "scope",
    "languages",
    "given",
    "expires",
    "fingerprint",
    "phrase",
    "words",
    "key",
    "signature",
)


@dataclass(frozen=True)
class VoiceFingerprint:
    """Whose voice, as far as a speaker encoder can tell.

    Attributes:
        encoder: digest of the speaker encoder's weights; embeddings of different encoders cannot
            be compared.
        embedding: of unit length.
        recordings: :meth:`stepaudio.audio.Audio.digest` of the recordings it was made from.
    """

    encoder: str
    embedding: tuple[float, ...]
    recordings: tuple[str, ...]


@dataclass(frozen=True)
class ConsentRecord:
    """One consent.

    Attributes:
        speaker: who consents.
        asked_by: who may use the voice.
        purposes: what is allowed.
        scope: in words, for people: the project, the product, the place. Not enforced.
        languages: the voice may be made to speak; empty is any. Not enforced.
        given: beginning, UTC, ISO 8601 with seconds.
        expires: end.
        fingerprint: of the voice.
        phrase: what the speaker was asked to say, with words that nobody could foresee.
        words: whether a recogniser heard them.
        key: public key of the signer; empty while unsigned.
        signature: over everything else.

    Raises:
        RecordError: a field that makes no sense.
    """

    speaker: str
    asked_by: str
    purposes: tuple[Purpose, ...]
    scope: str
    languages: tuple[str, ...]
    given: str
    expires: str
    fingerprint: VoiceFingerprint
    phrase: str
    words: WordsLevel
    key: str = ""
    signature: str = ""

    def __post_init__(self) -> None:
        if not self.speaker.strip() or not self.asked_by.strip():
            raise RecordError("a consent names the speaker and who asks")
        if not self.purposes or set(self.purposes) - set(PURPOSES):
            raise RecordError(
                f"a consent is for some of {', '.join(PURPOSES)}, not {', '.join(self.purposes)!r}"
            )
        if self.words not in get_args(WordsLevel):
            raise RecordError(f"the words are verified or unverified, not {self.words!r}")
        if utc(self.given) >= utc(self.expires):
            raise RecordError(f"a consent from {self.given} cannot end at {self.expires}")

    @property
    def id(self) -> str:
        """16 hexadecimal digits that name this consent."""
        return digest(self._unsigned())[:16]

    def signed(self, key: SigningKey) -> ConsentRecord:
        """The same with a signature.

        Args:
            key: of whoever took the consent down.

        Returns:
            A record that can be saved.
        """
        named = replace(self, key=key.public)
        return replace(named, signature=key.sign(canonical(named._unsigned())))

    @property
    def intact(self) -> bool:
        """Whether it is as its signer left it; who that is, is another question."""
        return signature_fits(self.key, self.signature, canonical(self._unsigned()))

    def to_bytes(self) -> bytes:
        """The file."""
        return canonical({**self._unsigned(), "signature": self.signature}) + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "the consent record") -> ConsentRecord:
        """Read a record that anybody may have written.

        Args:
            content: of a file.
            name: of the file, for errors.

        Returns:
            The record; its signature is not yet checked.

        Raises:
            RecordError: it is not a consent record of this version.
        """
        values = parse(content, name)
        if values.get("version") != _VERSION:
            raise RecordError(
                f"{name} has version {values.get('version')!r} of a consent record; "
                f"this stepaudio reads {_VERSION}"
            )
        fields = Fields(values, name, _FIELDS)
        print_ = fields.part("fingerprint", ("encoder", "embedding", "recordings"))
        fingerprint = VoiceFingerprint(
            print_.text("encoder"), print_.numbers("embedding"), print_.texts("recordings")
        )
        said: dict[str, Any] = {
            name: fields.text(name)
            for name in ("speaker", "asked_by", "scope", "given", "expires", "phrase", "words")
        }
        said["purposes"] = fields.texts("purposes")
        said["languages"] = fields.texts("languages")
        said["key"] = fields.hexadecimal("key", 64)
        said["signature"] = fields.hexadecimal("signature", 128)
        try:
            return cls(fingerprint=fingerprint, **said)
        except RecordError as error:
            raise RecordError(f"{name}: {error}") from error

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the record, readable by its owner only.

        Args:
            path: of the file.
            force: allow replacing an existing file.

        Returns:
            The path.

        Raises:
            OutputExistsError: the file exists and ``force`` is False.
        """
        content = self.to_bytes()
        return write_atomic(
            path, lambda temporary: temporary.write_bytes(content), force=force, private=True
        )

    @classmethod
    def load(cls, path: str | Path) -> ConsentRecord:
        """Read a file; see :meth:`from_bytes`.

        Args:
            path: written by :meth:`save`.

        Returns:
            The record.

        Raises:
            RecordError: missing, or not a consent record.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise RecordError(f"cannot read the consent record {path}: {error}") from error
        return cls.from_bytes(content, str(path))

    def _unsigned(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "speaker": self.speaker,
            "asked_by": self.asked_by,
            "purposes": list(self.purposes),
            "scope": self.scope,
            "languages": list(self.languages),
            "given": self.given,
            "expires": self.expires,
            "fingerprint": {
                "encoder": self.fingerprint.encoder,
                "embedding": list(self.fingerprint.embedding),
                "recordings": list(self.fingerprint.recordings),
            },
            "phrase": self.phrase,
            "words": self.words,
            "key": self.key,
        }


def utc(time: str) -> datetime:
    """A time of a record.

    Args:
        time: ISO 8601 with seconds and offset, such as ``2026-11-22T12:00:00+00:00``.

    Returns:
        The time.

    Raises:
        RecordError: it is not one.
    """
    try:
        value = datetime.fromisoformat(time)
        if value.tzinfo is not None:
            return value.astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise RecordError(f"{time!r} is not a time such as 2026-11-22T12:00:00+00:00") from error
    raise RecordError(f"{time!r} does not say which time zone; end it with +00:00")
