"""Ed25519 keys: the one that signs here, and those of others that are trusted.

Nothing of :mod:`cryptography` is imported before a key is needed.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from stepaudio.errors import RecordError, SignatureError
from stepaudio.hub import write_atomic

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["SigningKey", "check_private", "key_name", "signature_fits"]


class SigningKey:
    """A private key.

    Args:
        private: of :mod:`cryptography`.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        #: 64 hexadecimal digits that others may know.
        self.public: str = private.public_key().public_bytes_raw().hex()

    def __repr__(self) -> str:
        return f"SigningKey({key_name(self.public)})"

    @classmethod
    def make(cls) -> SigningKey:
        """A new key from the operating system's randomness."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Read a key.

        Args:
            path: written by :meth:`save`.

        Returns:
            The key.

        Raises:
            RecordError: not a key, or others than the owner can read it.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        check_private(path)
        try:
            private = load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise RecordError(f"{path} is not a private key in PEM form") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise RecordError(f"{path} holds another kind of key; it must be Ed25519")
        return cls(private)

    def save(self, path: Path) -> None:
        """Write the key, readable by its owner only.

        Args:
            path: must not exist.

        Raises:
            OutputExistsError: the file exists.
        """
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        pem = self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_atomic(path, lambda temporary: temporary.write_bytes(pem), private=True)

    def sign(self, content: bytes) -> str:
        """Signature of some bytes, 128 hexadecimal digits."""
        return self._private.sign(content).hex()


def signature_fits(public: str, signature: str, content: bytes) -> bool:
    """Whether the holder of a key signed exactly these bytes.

    Args:
        public: 64 hexadecimal digits.
        signature: 128 hexadecimal digits.
        content: what should have been signed.

    Returns:
        Yes or no; never an error.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(signature), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def key_name(public: str) -> str:
    """The first 16 hexadecimal digits of a public key's SHA-256, to be read out and compared."""
    return hashlib.sha256(public.encode()).hexdigest()[:16]


def check_private(path: Path) -> None:
    """Refuse a file that others than its owner can read.

    Args:
        path: of a file that exists.

    Raises:
        SignatureError: names the file and the command that repairs it.
    """
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise SignatureError(
            f"{path} can be read by others than its owner, so what it signs proves nothing; "
            f"if nobody has, run: chmod 600 {path}"
        )
