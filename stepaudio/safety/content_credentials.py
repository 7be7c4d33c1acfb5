"""Provenance inside the file: Content Credentials (C2PA), which other programs read as well.

The manifest store of WAV and MP3 files holds one action and the signed chain of
:mod:`stepaudio.safety.provenance`. It is signed with this machine's key and a certificate made
here, so other programs find the signature valid and the signer unknown: only a certificate of an
authority on the C2PA trust list would say who it is. Needs the extra ``c2pa``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from stepaudio import __version__
from stepaudio.errors import MissingExtraError, RecordError
from stepaudio.hub import write_atomic
from stepaudio.safety.audit import locked
from stepaudio.safety.canonical import MAX_BYTES, Fields, canonical, parse
from stepaudio.safety.claim_signature import claim_signed_by
from stepaudio.safety.keys import SigningKey, key_name
from stepaudio.safety.manifest import SignedManifest
from stepaudio.safety.provenance import Provenance
from stepaudio.safety.store import TrustStore

__all__ = ["FORMATS", "Credentials", "embed", "read", "require_c2pa"]

#: Suffixes of files that can hold them.
FORMATS = {".wav": "audio/wav", ".mp3": "audio/mpeg"}

_ASSERTION = "org.stepaudio.provenance"
_FILE_HASH = "c2pa.hash.data"
_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@dataclass(frozen=True)
class Credentials:
    """What a file's own credentials say.

    Attributes:
        valid: the C2PA library found signature and content hash right.
        provenance: the chain in them; None if another program wrote them.
        sealed: they are valid and signed with the key of the chain's last step, so whoever made the
            sound vouches for every byte of the file. Without it anybody may have copied the chain
            out of another file.
    """

    valid: bool
    provenance: Provenance | None
    sealed: bool = False


def require_c2pa(path: Path) -> Any:
    """The library, if this file can hold credentials.

    Args:
        path: of a sound file to write.

    Returns:
        The module.

    Raises:
        MissingExtraError: it is not installed.
        RecordError: a format that cannot hold them.
    """
    if path.suffix.lower() not in FORMATS:
        raise RecordError(
            f"{path} cannot hold Content Credentials; files ending in {' or '.join(FORMATS)} can"
        )
    try:
        import c2pa
    except ImportError as error:
        raise MissingExtraError(
            "Content Credentials need c2pa-python; pip install 'stepaudio[c2pa]'"
        ) from error
    return c2pa


def embed(path: Path, provenance: Provenance, store: TrustStore) -> Path:
    """Write credentials into a sound file; its samples stay as they are.

    Args:
        path: of a file that was just saved.
        provenance: of the recording.
        store: signs.

    Returns:
        The path.

    Raises:
        MissingExtraError: c2pa-python is not installed.
        RecordError: a format that cannot hold them.
    """
    c2pa = require_c2pa(path)
    key = store.key
    # As text: other programs may read numbers in other ways, and the signatures would not fit.
    chain = canonical({"chain": [one.signed(key).to_dict() for one in provenance.chain]})
    new = provenance.chain[0].manifest.parent is None
    kind = "trainedAlgorithmicMedia" if new else "compositeWithTrainedAlgorithmicMedia"
    # An edit creates as well: the recording that went in is not in the file to be opened.
    action = {"action": "c2pa.created", "digitalSourceType": _SOURCE + kind}
    claim = {
        "claim_generator_info": [{"name": "stepaudio", "version": __version__}],
        "title": path.name,
        "format": FORMATS[path.suffix.lower()],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": _ASSERTION, "data": {"json": chain.decode("utf-8")}},
        ],
    }
    signer = c2pa.Signer.from_callback(
        lambda content: bytes.fromhex(key.sign(content)),
        c2pa.C2paSigningAlg.ED25519,
        _certificates(store),
    )

    def write(temporary: Path) -> None:
        with path.open("rb") as source, temporary.open("w+b") as target:
            c2pa.Builder(claim).sign(signer, claim["format"], source, target)

    return write_atomic(path, write, force=True)


def read(path: Path) -> Credentials | None:
    """Look for credentials in a sound file.

    Args:
        path: of the file.

    Returns:
        What they say; None if there are none, or c2pa-python is not installed to look.
    """
    try:
        c2pa = require_c2pa(path)
    except (MissingExtraError, RecordError):
        return None
    try:
        # A file could name an address on the network where its credentials are.
        offline = c2pa.Settings.from_dict({"verify": {"remote_manifest_fetch": False}})
        reader = c2pa.Reader(str(path), context=c2pa.Context(offline))
        valid = reader.get_validation_state() in ("Valid", "Trusted")
        active = reader.get_active_manifest() or {}
    except c2pa.C2paError.ManifestNotFound:
        return None
    except c2pa.C2paError:
        return Credentials(False, None)
    for assertion in active.get("assertions", ()):
        if assertion.get("label") == _ASSERTION:
            chain = _chain(assertion.get("data"), path)
            sealed = valid and chain is not None and _sealed(reader, path, chain.chain[-1].key)
            return Credentials(valid, chain, sealed)
    return Credentials(valid, None)


def _sealed(reader: Any, path: Path, key: str) -> bool:
    """Whether a key signed the claim that the C2PA library found to hold."""
    found = json.loads(reader.detailed_json())
    manifest = found["manifests"][found["active_manifest"]]
    claim, binding = manifest["claim"], manifest["assertion_store"].get(_FILE_HASH)
    named = [*claim.get("created_assertions", ()), *claim.get("gathered_assertions", ())]
    # Every byte of the file is hashed, but for the place of the credentials themselves.
    if not isinstance(binding, Mapping) or len(binding.get("exclusions") or ()) != 1:
        return False
    place = binding["exclusions"][0]
    with path.open("rb") as file:
        file.seek(place["start"])
        store = file.read(place["length"])
    # WAV begins the place with the head of a chunk.
    begin = max(0, store.find(b"jumb") - 4)
    return claim_signed_by(store[begin:], [base64.b64decode(one["hash"]) for one in named], key)


def _chain(data: object, path: Path) -> Provenance | None:
    name = f"the Content Credentials of {path}"
    try:
        text = Fields(data, name, ("json",)).text("json", longest=MAX_BYTES)
        links = Fields(parse(text.encode("utf-8"), name), name, ("chain",)).items("chain")
        chain = tuple(SignedManifest.from_dict(link, name) for link in links)
    except RecordError:
        return None
    return Provenance(chain) if chain else None


def _certificates(store: TrustStore) -> str:
    """This machine's certificate and the one it is issued by, made once."""
    path = store.folder / "certificates.pem"
    if not path.is_file():
        content = _issue(store.key)
        with locked(store.folder):
            # Another process may have made them since they were looked for.
            if not path.is_file():
                write_atomic(path, lambda temporary: temporary.write_bytes(content), private=True)
    return path.read_text(encoding="ascii")


def _issue(key: SigningKey) -> bytes:
    """Certificates as the C2PA specification wants them; the issuer's key is thrown away."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    issuer = Ed25519PrivateKey.generate()
    own = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public))
    now = datetime.now(timezone.utc)

    def name(common: str) -> x509.Name:
        organization = "stepaudio, self-issued"
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )

    def certificate(common: str, public: Ed25519PublicKey, *, authority: bool) -> bytes:
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(common))
            .issuer_name(name("issuer"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()),
                critical=False,
            )
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True, key_cert_sign=authority, crl_sign=authority, **usage
                ),
                critical=True,
            )
        )
        if not authority:
            purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purposes, critical=False)
        return builder.sign(issuer, None).public_bytes(Encoding.PEM)

    return certificate(key_name(key.public), own, authority=False) + certificate(
        "issuer", issuer.public_key(), authority=True
    )
