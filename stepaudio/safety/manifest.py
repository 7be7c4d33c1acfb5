"""One step of a recording's history: what went in, what was done, with what, under which policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from stepaudio.edits import Edit
from stepaudio.errors import RecordError
from stepaudio.safety.canonical import Fields, canonical
from stepaudio.safety.keys import SigningKey, signature_fits

__all__ = ["Action", "Manifest", "SignedManifest", "edit_values"]

#: What made the sound.
Action = Literal["edit", "speak", "resynthesize"]

_VERSION = 1
_EDIT = ("kind", "label", "text", "strength")
_MANIFEST = (
    "version",
    "action",
    "sound",
    "parent",
    "edits",
    "span",
    "model",
    "weights",
    "seed",
    "policy",
    "consent",
    "watermark",
    "software",
    "created",
)


@dataclass(frozen=True)
class Manifest:
    """What one call of a pipeline did.

    Attributes:
        action: what was done.
        sound: :meth:`stepaudio.audio.Audio.digest` of the result.
        parent: digest of the recording that went in; None for new speech.
        edits: one object per edit: kind, label, text, strength.
        span: seconds from and to which the sound is new; None if all of it is.
        model: what the caller calls it; the embedded one is ``"embedded"``.
        weights: see :func:`stepaudio.safety.weights.sampled_digest`.
        seed: repeats the result.
        policy: name of the :class:`stepaudio.safety.policy.SafetyPolicy`.
        consent: id of the speaker's record.
        watermark: payload of the mark in the sound, in words of the watermarker.
        software: name and version.
        created: UTC, ISO 8601.
    """

    action: Action
    sound: str
    parent: str | None
    edits: tuple[Mapping[str, Any], ...]
    model: str
    weights: str
    seed: int
    policy: str
    consent: str | None
    software: str
    created: str
    watermark: str | None = None
    span: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "version": _VERSION,
            "action": self.action,
            "sound": self.sound,
            "parent": self.parent,
            "edits": [dict(edit) for edit in self.edits],
            "span": None if self.span is None else list(self.span),
            "model": self.model,
            "weights": self.weights,
            "seed": self.seed,
            "policy": self.policy,
            "consent": self.consent,
            "watermark": self.watermark,
            "software": self.software,
            "created": self.created,
        }

    @classmethod
    def from_dict(cls, values: object, name: str) -> Manifest:
        """Read what anybody may have written.

        Args:
            values: parsed JSON.
            name: of the file, for errors.

        Returns:
            The manifest.

        Raises:
            RecordError: it is not a manifest of this version.
        """
        fields = Fields(values, name, _MANIFEST)
        if fields.whole("version") != _VERSION:
            raise RecordError(f"{name} has a version this stepaudio does not read")
        action = fields.text("action")
        if action not in get_args(Action):
            raise RecordError(f"{name}: unknown action {action!r}")
        said: dict[str, Any] = {
            key: fields.text(key) for key in ("action", "model", "policy", "software", "created")
        }
        for key in ("consent", "watermark"):
            said[key] = fields.text(key) if fields.has(key) else None
        said["parent"] = fields.hexadecimal("parent", 64) if fields.has("parent") else None
        span = fields.numbers("span", longest=2) if fields.has("span") else None
        if span is not None and len(span) != 2:
            raise RecordError(f"{name}: a span is two times, not {span!r}")
        edits = [Fields(edit, f"{name}: an edit", _EDIT) for edit in fields.items("edits")]
        return cls(
            sound=fields.hexadecimal("sound", 64),
            weights=fields.text("weights"),
            seed=fields.integer("seed"),
            span=None if span is None else (span[0], span[1]),
            edits=tuple(
                {
                    "kind": edit.text("kind"),
                    "label": edit.text("label"),
                    "text": edit.text("text", longest=100_000),
                    "strength": edit.whole("strength"),
                }
                for edit in edits
            ),
            **said,
        )

    @property
    def doing(self) -> str:
        """What was done, in words."""
        if self.action == "edit":
            done = ", ".join(_words(edit) for edit in self.edits)
            place = self.span
            return done if place is None else f"{done} from {place[0]:.2f} s to {place[1]:.2f} s"
        return {"speak": "new speech in a voice", "resynthesize": "to codes and back"}[self.action]


@dataclass(frozen=True)
class SignedManifest:
    """A manifest and who vouches for it.

    Attributes:
        manifest: the facts.
        key: public key of the signer; empty while unsigned.
        signature: over the facts and the key.
    """

    manifest: Manifest
    key: str = ""
    signature: str = ""

    def signed(self, key: SigningKey) -> SignedManifest:
        """The same with a signature; one that has one keeps it.

        Args:
            key: of this machine.

        Returns:
            What can be written.
        """
        if self.signature:
            return self
        named = replace(self, key=key.public)
        return replace(named, signature=key.sign(named._content()))

    @property
    def intact(self) -> bool:
        """Whether it is as its signer left it."""
        return signature_fits(self.key, self.signature, self._content())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "manifest": self.manifest.to_dict(),
            "key": self.key,
            "signature": self.signature,
        }

    @classmethod
    def from_dict(cls, values: object, name: str) -> SignedManifest:
        """Read what anybody may have written; the signature is not yet checked.

        Args:
            values: parsed JSON.
            name: of the file, for errors.

        Returns:
            The manifest with its signature.

        Raises:
            RecordError: it is not one.
        """
        fields = Fields(values, name, ("manifest", "key", "signature"))
        assert isinstance(values, dict)
        return cls(
            Manifest.from_dict(values["manifest"], name),
            fields.hexadecimal("key", 64),
            fields.hexadecimal("signature", 128),
        )

    def _content(self) -> bytes:
        return canonical({"manifest": self.manifest.to_dict(), "key": self.key})


def edit_values(edit: Edit) -> dict[str, Any]:
    """An edit as a manifest holds it."""
    return {
        "kind": edit.kind,
        "label": edit.label,
        "text": edit.text,
        "strength": edit.strength,
    }


def _words(edit: Mapping[str, Any]) -> str:
    said = f"{edit['kind']} {edit['label']}".strip()
    return f"{said} (strength {edit['strength']})" if edit["strength"] != 1 else said
