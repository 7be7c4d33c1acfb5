"""What was done with voices, written down so that nothing can be changed or left out unseen.

Two files. ``audit.jsonl`` has one signed entry per line, each with the SHA-256 of the line before.
``audit.head`` says, signed, how many entries there are, their length in bytes and the hash of the
last line: a chain alone cannot show that its end is missing. Entries are only ever added.

What cannot be seen from within is an older copy of both files put back in their place. Whoever
needs that keeps :attr:`AuditLog.head` elsewhere.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from stepaudio.errors import AuditLogError, RecordError, SafetyError
from stepaudio.hub import write_atomic
from stepaudio.safety.canonical import Fields, canonical, parse
from stepaudio.safety.keys import SigningKey, signature_fits

__all__ = ["AuditLog", "Entry", "Head", "locked", "unusable"]

_NO_LINE = "0" * 64
_ENTRY = ("index", "time", "event", "details", "previous", "signature")
_HEAD = ("count", "size", "last", "signature")


@dataclass(frozen=True)
class Entry:
    """One thing that happened.

    Attributes:
        index: from 0.
        time: UTC, ISO 8601.
        event: such as ``"consent given"``.
        details: texts by name; never a name of a person, a path or a key.
    """

    index: int
    time: str
    event: str
    details: Mapping[str, str]


@dataclass(frozen=True)
class Head:
    """Where the log ends.

    Attributes:
        count: entries.
        size: of them all, bytes.
        last: SHA-256 of the last line.
    """

    count: int = 0
    size: int = 0
    last: str = _NO_LINE


class AuditLog:
    """The log of one folder.

    Args:
        folder: holds both files.
        key: signs and checks them.
    """

    def __init__(self, folder: Path, key: SigningKey) -> None:
        self._folder = folder
        self._path = folder / "audit.jsonl"
        self._head_path = folder / "audit.head"
        self._key = key

    def begin(self) -> None:
        """Start an empty log; the caller holds the lock of the folder.

        Raises:
            AuditLogError: there is a log with entries.
        """
        if self._path.exists() and self._path.stat().st_size:
            raise AuditLogError(
                f"{self._path} has entries, but the key that signed them is gone; put the key "
                "back, or move the log away and keep it"
            )
        self._write_head(Head())

    @property
    def head(self) -> Head:
        """Where the log ends, as it was last signed."""
        return self._read_head()

    def append(self, event: str, **details: str) -> Entry:
        """Write an entry, on the disk before this returns.

        Args:
            event: what happened.
            **details: texts by name.

        Returns:
            The entry.

        Raises:
            AuditLogError: the end of the log is not as it was left.
            SafetyError: the folder cannot be written.
        """
        with locked(self._folder):
            head = self._read_head()
            content = self._content(head, start=head.size)
            unsigned, rest = self._complete(content)
            for _, line in self._walk(unsigned, head, signed=False):
                head = _after(head, line)
            time = datetime.now(timezone.utc).isoformat(timespec="seconds")
            values: dict[str, Any] = {
                "index": head.count,
                "time": time,
                "event": event,
                "details": details,
                "previous": head.last,
            }
            values["signature"] = self._key.sign(canonical(values))
            line = canonical(values) + b"\n"
            self._write_line(line, len(rest))
            self._write_head(_after(head, line))
            return Entry(head.count, time, event, details)

    def entries(self) -> list[Entry]:
        """Everything in the log, checked from the first line to the last.

        Returns:
            Entries, oldest first.

        Raises:
            AuditLogError: says where the log was altered, or how much of it is missing.
            SafetyError: the folder cannot be used.
        """
        with locked(self._folder):
            head = self._read_head()
            content = self._content(head)
        found, end = [], Head()
        for entry, line in self._walk(content[: head.size], end, signed=True):
            found.append(entry)
            end = _after(end, line)
        if end != head:
            raise AuditLogError(
                f"{self._path} was altered: its {end.count} entries do not end as the "
                f"{head.count} that were written"
            )
        # Written, but the power went before the head was: good if signed.
        unsigned, _ = self._complete(content[head.size :])
        return found + [entry for entry, _ in self._walk(unsigned, head, signed=False)]

    def _content(self, head: Head, start: int = 0) -> bytes:
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(start)
                content = file.read()
        except FileNotFoundError:
            size, content = 0, b""
        if size < head.size:
            raise AuditLogError(
                f"{self._path} was shortened: {head.count} entries of {head.size} bytes were "
                f"written, {size} bytes are left; put the whole file back"
            )
        return content

    @staticmethod
    def _complete(content: bytes) -> tuple[bytes, bytes]:
        """Whole lines, and what of a line was written when the power went."""
        end = content.rfind(b"\n") + 1
        return content[:end], content[end:]

    def _walk(self, content: bytes, end: Head, *, signed: bool) -> Iterator[tuple[Entry, bytes]]:
        """Entries with their lines; ``signed`` says that a head vouches for them."""
        for line in content.splitlines(keepends=True):
            name = f"{self._path}, entry {end.count}"
            try:
                values = parse(line, name)
                fields = Fields(values, name, _ENTRY)
                chain = fields.whole("index"), fields.hexadecimal("previous", 64)
                details = values["details"]
                if not isinstance(details, dict):
                    raise RecordError(f"{name}: the details are no object")
                entry = Entry(chain[0], fields.text("time"), fields.text("event"), details)
                signature = fields.hexadecimal("signature", 128)
            except RecordError as error:
                raise AuditLogError(f"the log was altered: {error}") from error
            if chain != (end.count, end.last):
                raise AuditLogError(f"{name} does not follow the one before: the log was altered")
            del values["signature"]
            # What a signed head vouches for need not be checked line by line.
            if not signed and not signature_fits(self._key.public, signature, canonical(values)):
                raise AuditLogError(f"{name} was not written by this log's key")
            end = _after(end, line)
            yield entry, line

    def _read_head(self) -> Head:
        name = str(self._head_path)
        try:
            values = parse(self._head_path.read_bytes(), name)
            fields = Fields(values, name, _HEAD)
            signature = fields.hexadecimal("signature", 128)
            head = Head(fields.whole("count"), fields.whole("size"), fields.hexadecimal("last", 64))
        except FileNotFoundError:
            raise AuditLogError(
                f"{name} is missing, so nobody can tell whether the log is whole; put it back"
            ) from None
        except RecordError as error:
            raise AuditLogError(f"the head of the log was altered: {error}") from error
        if not signature_fits(self._key.public, signature, canonical(_unsigned(head))):
            raise AuditLogError(f"{name} was altered: it is not signed by this log's key")
        return head

    def _write_head(self, head: Head) -> None:
        values = _unsigned(head)
        content = canonical({**values, "signature": self._key.sign(canonical(values))})
        write_atomic(
            self._head_path,
            lambda temporary: temporary.write_bytes(content),
            force=True,
            private=True,
        )

    def _write_line(self, line: bytes, surplus: int) -> None:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            size = os.lseek(file, 0, os.SEEK_END) - surplus
            os.ftruncate(file, size)
            os.lseek(file, size, os.SEEK_SET)
            os.write(file, line)
            os.fsync(file)
        finally:
            os.close(file)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time in a trust folder; the lock goes with the process that holds it.

    Whoever holds it must not ask for it again.

    Args:
        folder: made if it is missing, for its owner only.

    Yields:
        Nothing.

    Raises:
        SafetyError: the folder, or something done in it, fails for a reason of the disk.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(folder / "audit.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.name == "posix":
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)
    except OSError as error:
        raise unusable(folder, error) from error


def unusable(folder: Path, error: OSError) -> SafetyError:
    """What to raise where a trust folder cannot be read or written.

    Args:
        folder: that holds key and log.
        error: of the operating system.

    Returns:
        Names the folder and what to do.
    """
    return SafetyError(
        f"the trust folder {folder} cannot be used ({error}); it holds the key that signs and the "
        "log: make it a folder that you can write to, or set STEPAUDIO_TRUST_DIR to another"
    )


def _unsigned(head: Head) -> dict[str, Any]:
    return {"count": head.count, "size": head.size, "last": head.last}


def _after(head: Head, line: bytes) -> Head:
    return Head(head.count + 1, head.size + len(line), hashlib.sha256(line).hexdigest())
