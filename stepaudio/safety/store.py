"""The folder that holds the signing key, the audit log and the consent records of a machine.

``$STEPAUDIO_TRUST_DIR``, or ``~/.local/share/stepaudio/trust``. It is made when it is first needed,
for its owner only. ``trusted_keys`` in it, one public key per line, names others whose signatures
count here.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

from stepaudio.errors import NoConsentError, RecordError
from stepaudio.safety.audit import AuditLog, locked, unusable
from stepaudio.safety.consent import ConsentRecord
from stepaudio.safety.keys import SigningKey

__all__ = ["TrustStore", "require_key", "trust_folder"]

_REVOKED = "consent revoked"


def trust_folder() -> Path:
    """Where keys, log and records are unless a call says otherwise."""
    chosen = os.environ.get("STEPAUDIO_TRUST_DIR")
    return Path(chosen) if chosen else Path.home() / ".local" / "share" / "stepaudio" / "trust"


class TrustStore:
    """Keys, log and records; nothing is read or made before it is needed.

    Args:
        folder: None is :func:`trust_folder`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = trust_folder() if folder is None else folder

    @functools.cached_property
    def key(self) -> SigningKey:
        """This machine's key, made when it is first needed.

        Returns:
            The key.

        Raises:
            AuditLogError: there is a log but not the key that signed it.
            RecordError: the key is damaged.
            SafetyError: the folder cannot be read, or not be made or written.
            SignatureError: others can read the key.
        """
        try:
            if not self._key_path.exists():
                with locked(self.folder):
                    self._make_key()
            return SigningKey.load(self._key_path)
        except OSError as error:
            raise unusable(self.folder, error) from error

    @functools.cached_property
    def log(self) -> AuditLog:
        """What was done on this machine."""
        return AuditLog(self.folder, self.key)

    def is_own(self, public: str) -> bool:
        """Whether a key is this machine's.

        Args:
            public: 64 hexadecimal digits.

        Returns:
            False where no key has been made yet.
        """
        return self._key_path.exists() and public == self.key.public

    def trusts(self, public: str) -> bool:
        """Whether signatures of a key count here.

        Args:
            public: 64 hexadecimal digits.

        Returns:
            True for this machine's own key and those in ``trusted_keys``.
        """
        return self.is_own(public) or public in trusted_keys(self.folder)

    def revoked(self) -> set[str]:
        """The records that were taken back, from the whole log.

        Returns:
            Their ids.

        Raises:
            AuditLogError: the log was altered or shortened.
        """
        return {
            str(entry.details.get("consent", ""))
            for entry in self.log.entries()
            if entry.event == _REVOKED
        }

    def revoke(self, record: ConsentRecord) -> None:
        """Write down that a speaker has taken a consent back.

        Args:
            record: of this machine or of another.
        """
        self.log.append(_REVOKED, consent=record.id)

    def keep(self, record: ConsentRecord) -> Path:
        """Store a new record and write it into the log.

        Args:
            record: signed.

        Returns:
            Its file.

        Raises:
            OutputExistsError: it is there already.
        """
        path = record.save(self._records / f"{record.id}.json")
        self.log.append("consent given", consent=record.id, words=record.words)
        return path

    def find(self, name: str | Path) -> ConsentRecord:
        """A record by its file or by its id.

        Args:
            name: path, or the id of a record kept here.

        Returns:
            The record, not yet checked.

        Raises:
            NoConsentError: there is none.
            RecordError: it is damaged.
        """
        for path in (Path(name), self._records / f"{name}.json"):
            if path.is_file():
                return ConsentRecord.load(path)
        raise NoConsentError(
            f"there is no consent record {str(name)!r}, neither a file nor an id; "
            "stepaudio consent list shows those kept here"
        )

    def records(self) -> list[ConsentRecord]:
        """All records kept here.

        Returns:
            Records, oldest first, not yet checked.

        Raises:
            RecordError: one is damaged.
        """
        found = [ConsentRecord.load(path) for path in self._records.glob("*.json")]
        return sorted(found, key=lambda record: (record.given, record.id))

    def _make_key(self) -> None:
        # Another process may have made one since it was looked for.
        if not self._key_path.exists():
            key = SigningKey.make()
            # The key comes last: one that is there always has a log.
            AuditLog(self.folder, key).begin()
            key.save(self._key_path)

    @property
    def _key_path(self) -> Path:
        return self.folder / "signing_key.pem"

    @property
    def _records(self) -> Path:
        return self.folder / "records"


def require_key() -> None:
    """Refuse a machine that could not sign, before the slow work whose result it shall sign.

    Raises:
        SafetyError: see :attr:`TrustStore.key`.
    """
    _ = TrustStore().key


def trusted_keys(folder: Path) -> set[str]:
    """Keys of others; what follows a key on its line is a remark.

    Args:
        folder: of a store.

    Returns:
        Public keys.

    Raises:
        RecordError: a line does not begin with 64 hexadecimal digits.
    """
    path = folder / "trusted_keys"
    if not path.is_file():
        return set()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise RecordError(f"{path} is not text") from error
    found = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        key = line.split()[0]
        if len(key) != 64 or set(key) - set("0123456789abcdef"):
            raise RecordError(f"{path}, line {number}: a key has 64 hexadecimal digits")
        found.add(key)
    return found
