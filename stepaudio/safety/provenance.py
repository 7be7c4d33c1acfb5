"""Where a recording comes from: a chain of signed manifests in a file beside it.

``out.wav`` has ``out.wav.provenance.json``. Each manifest names the sound it made and the sound it
started from, so an edit of an edit continues the chain. The whole file is signed once more, with
the hash of the sound file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepaudio.audio import Audio
from stepaudio.errors import RecordError
from stepaudio.hub import write_atomic
from stepaudio.safety.canonical import MAX_BYTES, Fields, canonical, parse
from stepaudio.safety.keys import SigningKey, signature_fits
from stepaudio.safety.manifest import Manifest, SignedManifest

__all__ = ["Provenance", "Sidecar", "file_hash", "history_of", "sidecar_path"]

_VERSION = 1
_FIELDS = ("version", "chain", "file", "key", "signature")


@dataclass(frozen=True)
class Provenance:
    """A recording's history.

    Attributes:
        chain: oldest first; the last one made the recording.
    """

    chain: tuple[SignedManifest, ...]

    @property
    def manifest(self) -> Manifest:
        """The step that made the recording."""
        return self.chain[-1].manifest

    @property
    def unbroken(self) -> bool:
        """Whether each step started from the sound that the one before made."""
        sounds = [one.manifest.sound for one in self.chain]
        return all(
            one.manifest.parent == sound
            for one, sound in zip(self.chain[1:], sounds[:-1], strict=True)
        )

    @property
    def keys(self) -> tuple[str, ...]:
        """Public keys of everyone who signed a step, the last one first."""
        return tuple(dict.fromkeys(one.key for one in reversed(self.chain)))

    def then(self, manifest: Manifest) -> Provenance:
        """The history after one more step.

        Args:
            manifest: not yet signed.

        Returns:
            A new history, which begins anew where the step does not start from the last sound.
        """
        link = SignedManifest(manifest)
        if self.chain and self.manifest.sound == manifest.parent:
            return Provenance((*self.chain, link))
        return Provenance((link,))

    def seal(self, file: str, key: SigningKey) -> Sidecar:
        """Sign what is not yet signed, and all of it together with the sound file.

        Args:
            file: :func:`file_hash` of the saved recording.
            key: of this machine.

        Returns:
            What is written beside the recording.
        """
        signed = Provenance(tuple(one.signed(key) for one in self.chain))
        sidecar = Sidecar(signed, file, key.public)
        return replace(sidecar, signature=key.sign(sidecar.content()))


@dataclass(frozen=True)
class Sidecar:
    """The file beside a recording.

    Attributes:
        provenance: the history.
        file: hash of the sound file as it was saved.
        key: public key of whoever saved it.
        signature: over all of it.
    """

    provenance: Provenance
    file: str
    key: str
    signature: str = ""

    @property
    def intact(self) -> bool:
        """Whether this file and every manifest in it are as their signers left them."""
        return signature_fits(self.key, self.signature, self.content()) and all(
            one.intact for one in self.provenance.chain
        )

    @property
    def keys(self) -> tuple[str, ...]:
        """Public keys of everyone who signed something in it, the last one first."""
        return tuple(dict.fromkeys((self.key, *self.provenance.keys)))

    def content(self) -> bytes:
        """What is signed."""
        return canonical(self._unsigned())

    def save(self, path: Path, *, force: bool = False) -> Path:
        """Write the file.

        Args:
            path: from :func:`sidecar_path`.
            force: allow replacing an existing file.

        Returns:
            The path.

        Raises:
            OutputExistsError: it exists and ``force`` is False.
        """
        content = canonical({**self._unsigned(), "signature": self.signature}) + b"\n"
        return write_atomic(path, lambda temporary: temporary.write_bytes(content), force=force)

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "the provenance") -> Sidecar:
        """Read what anybody may have written; signatures are not yet checked.

        Args:
            content: of a file.
            name: of the file, for errors.

        Returns:
            The sidecar.

        Raises:
            RecordError: it is not one of this version.
        """
        fields = Fields(parse(content, name), name, _FIELDS)
        if fields.whole("version") != _VERSION:
            raise RecordError(f"{name} has a version this stepaudio does not read")
        chain = tuple(SignedManifest.from_dict(one, name) for one in fields.items("chain"))
        if not chain:
            raise RecordError(f"{name} has no manifest in it")
        return cls(
            Provenance(chain),
            fields.hexadecimal("file", 64),
            fields.hexadecimal("key", 64),
            fields.hexadecimal("signature", 128),
        )

    @classmethod
    def load(cls, path: Path) -> Sidecar:
        """Read a file; see :meth:`from_bytes`.

        Args:
            path: of the sidecar itself.

        Returns:
            The sidecar.

        Raises:
            RecordError: it cannot be read or is not one.
        """
        try:
            with path.open("rb") as file:
                return cls.from_bytes(file.read(MAX_BYTES + 1), str(path))
        except OSError as error:
            raise RecordError(f"cannot read {path}: {error}") from error

    def _unsigned(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "chain": [one.to_dict() for one in self.provenance.chain],
            "file": self.file,
            "key": self.key,
        }


def sidecar_path(recording: Path) -> Path:
    """Where the provenance of a recording is."""
    return recording.with_name(f"{recording.name}.provenance.json")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest()


def history_of(recording: Audio) -> Provenance:
    """What is known of a recording before anything is done to it.

    Args:
        recording: perhaps loaded from a file that has a sidecar.

    Returns:
        Its history; empty if there is none, or if what lies beside the file is damaged or belongs
        to another sound. That is for ``stepaudio verify`` to tell, not a reason to refuse an edit.
    """
    none = Provenance(())
    if recording.source is None or not sidecar_path(recording.source).is_file():
        return none
    try:
        sidecar = Sidecar.load(sidecar_path(recording.source))
    except RecordError:
        return none
    made, saved = sidecar.provenance.manifest.sound, sidecar.file
    # Formats that lose something do not give back the samples, but the file is still the one.
    same = made == recording.digest() or saved == file_hash(recording.source)
    return sidecar.provenance if same and sidecar.intact else none
