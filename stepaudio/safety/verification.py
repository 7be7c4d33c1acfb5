"""What a recording can prove about itself, in plain words, and never more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stepaudio.audio import Audio
from stepaudio.errors import RecordError
from stepaudio.safety import detector
from stepaudio.safety.content_credentials import Credentials, read
from stepaudio.safety.keys import key_name
from stepaudio.safety.manifest import SignedManifest
from stepaudio.safety.provenance import Provenance, Sidecar, file_hash, sidecar_path
from stepaudio.safety.store import TrustStore
from stepaudio.safety.watermark import Detection, MarkNote
from stepaudio.safety.watermark_spread import DEFAULT_WATERMARKER

__all__ = ["Finding", "Verdict", "verify"]

#: ``good`` was checked and holds, ``bad`` was checked and does not, ``unknown`` cannot be checked
#: here, ``said`` is what a signer claims, ``guess`` what something that errs believes.
Standing = Literal["good", "bad", "unknown", "said", "guess"]


@dataclass(frozen=True)
class Finding:
    """One thing that is known.

    Attributes:
        topic: ``watermark``, ``detector``, ``credentials``, ``provenance``, ``signature``,
            ``signer``, ``sound``, ``chain``, ``origin`` or ``step``.
        standing: how well it is known.
        words: a sentence.
    """

    topic: str
    standing: Standing
    words: str


@dataclass(frozen=True)
class Verdict:
    """All that is known of a file.

    Attributes:
        findings: in the order to tell them.
        opinion: of the detector of synthetic speech; it changes nothing about what is proven.
    """

    findings: tuple[Finding, ...]
    opinion: detector.Verdict

    @property
    def proven(self) -> bool:
        """Whether a trusted signer vouches for this very sound and its history."""
        checked = {one.topic: one.standing for one in self.findings}
        wanted = ("signature", "signer", "sound", "chain")
        return all(checked.get(topic) == "good" for topic in wanted)

    @property
    def contradicted(self) -> bool:
        """Whether something was checked and does not hold."""
        return any(one.standing == "bad" for one in self.findings)


def verify(recording: Path, store: TrustStore) -> Verdict:
    """Listen for a mark and for a machine, and look at the provenance beside a file or inside.

    Provenance beside the recording counts before that inside it.

    Args:
        recording: a sound file.
        store: knows the trusted keys.

    Returns:
        What is known.

    Raises:
        AudioError: the recording cannot be read.
    """
    sound = Audio.load(recording)
    beside = sidecar_path(recording)
    inside = read(recording)
    heard = DEFAULT_WATERMARKER.detect(sound)
    opinion = detector.embedded_detector().detect(sound)
    findings = [_opinion(opinion)] + ([] if inside is None else [_credentials(inside)])
    if beside.is_file():
        try:
            sidecar = Sidecar.load(beside)
        except RecordError as error:
            damaged = Finding("provenance", "bad", f"What lies beside it is damaged: {error}.")
            return Verdict((_mark(heard), *findings, damaged), opinion)
        intact, keys, history = sidecar.intact, sidecar.keys, sidecar.provenance
        whole = file_hash(recording) == sidecar.file
    elif inside is not None and inside.provenance is not None:
        history, whole = inside.provenance, inside.sealed
        intact, keys = all(one.intact for one in history.chain), history.keys
    else:
        words = (
            f"There is no {beside.name} beside it. It may be a recording of a person, or "
            "synthetic speech whose provenance was taken away: it says nothing of its history."
        )
        unproven = Finding("provenance", "unknown", words)
        return Verdict((_mark(heard), *findings, unproven), opinion)
    findings.insert(0, _mark(heard, history))
    findings += [_signature(intact), _signers(keys, store), _sound(whole, history, sound)]
    findings += [_chain(history), _origin(history)]
    findings += [_step(number, one) for number, one in enumerate(history.chain, 1)]
    return Verdict(tuple(findings), opinion)


def _mark(heard: Detection, history: Provenance | None = None) -> Finding:
    """What the sound itself says, which outlives the file it was saved in."""
    if not heard.found:
        words = (
            "No watermark of this library was heard: it did not make the sound, or marked it with "
            "another scheme, or the mark was damaged, or there is too little sound to tell."
        )
        return Finding("watermark", "unknown", words)
    words = "The sound carries the watermark of this library"
    if heard.payload is None:
        return Finding("watermark", "good", f"{words}; its number cannot be read.")
    note = str(MarkNote(DEFAULT_WATERMARKER.name, heard.payload))
    steps = [] if history is None else [link.manifest.watermark for link in history.chain]
    if note in steps:
        return Finding("watermark", "good", f"{words}, {note}, as step {steps.index(note) + 1}.")
    return Finding("watermark", "good", f"{words}, {note}.")


def _opinion(opinion: detector.Verdict) -> Finding:
    """What the detector believes, with its odds, and that it errs."""
    if opinion.probability is None:
        return Finding("detector", "unknown", f"The detector cannot tell. {opinion.reason}")
    places = ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in opinion.spans)
    where = f" ({places})" if places and opinion.label != "synthetic" else ""
    words = (
        f"The detector, which errs: {opinion.reason[:-1]}{where}; synthetic with a chance of "
        f"{opinion.probability:.0%}, if it was as likely before."
    )
    return Finding("detector", "unknown" if opinion.label == "unknown" else "guess", words)


def _credentials(inside: Credentials) -> Finding:
    if not inside.valid:
        return Finding("credentials", "bad", "The Content Credentials in the file do not hold.")
    if inside.provenance is None:
        words = "The file holds Content Credentials of another program; a C2PA viewer shows them."
        return Finding("credentials", "unknown", words)
    return Finding("credentials", "good", "The Content Credentials in the file hold.")


def _signature(intact: bool) -> Finding:
    if intact:
        return Finding("signature", "good", "The provenance is as it was signed.")
    return Finding(
        "signature", "bad", "The provenance was changed after it was signed; believe none of it."
    )


def _signers(keys: Sequence[str], store: TrustStore) -> Finding:
    strangers = [key for key in keys if not store.trusts(key)]
    if strangers:
        names = ", ".join(key_name(key) for key in strangers)
        words = (
            f"It was signed by a key that is not trusted here ({names}); anybody can make a key, "
            "so what it says is only a claim."
        )
        return Finding("signer", "unknown", words)
    own = all(store.is_own(key) for key in keys)
    who = "this machine" if own else "keys that are trusted here"
    return Finding("signer", "good", f"It was signed by {who}.")


def _sound(whole: bool, history: Provenance, sound: Audio) -> Finding:
    if whole:
        return Finding("sound", "good", "The file is, byte for byte, the one that was saved.")
    if sound.digest() == history.manifest.sound:
        return Finding("sound", "good", "Every sample is as it was made.")
    return Finding(
        "sound",
        "bad",
        "This is not the sound that the provenance describes: it was changed afterwards, stored "
        "with loss, or is another recording.",
    )


def _chain(history: Provenance) -> Finding:
    if not history.unbroken:
        return Finding("chain", "bad", "The chain is broken: a step does not start from the last.")
    count = len(history.chain)
    words = "one step" if count == 1 else f"{count} steps, each from the sound before"
    return Finding("chain", "good", f"The chain is whole: {words}.")


def _origin(history: Provenance) -> Finding:
    first = history.chain[0].manifest
    if first.parent is None:
        return Finding("origin", "said", "It began as new speech; no recording was edited.")
    return Finding(
        "origin",
        "said",
        f"It began with the recording {first.parent[:16]}…; what that was, is not known here.",
    )


def _step(number: int, link: SignedManifest) -> Finding:
    manifest = link.manifest
    consent = f"consent {manifest.consent}" if manifest.consent else "no consent record"
    mark = f", watermark {manifest.watermark}" if manifest.watermark else ""
    words = (
        f"Step {number}, {manifest.created}: {manifest.action} ({manifest.doing}) with "
        f"{manifest.software}, model {manifest.model} ({manifest.weights[:8]}), seed "
        f"{manifest.seed}, policy {manifest.policy}, {consent}{mark}."
    )
    return Finding("step", "said", words)
