"""Is it still the same speaker: cosine to the source, and the margin against everybody else.

A cosine alone says little. The same speaker in another emotion can be further from the source than
a stranger is, and each encoder has its own idea of what is far. So there is no threshold here: the
number to look at is by how much the recording is nearer to its own source than to the sources of
the other speakers of the same set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

import stepaudio
from stepaudio.audio import Audio
from stepaudio.errors import AudioError
from stepaudio.evaluation.contracts import ModelId, Sample
from stepaudio.evaluation.extras import need, package_version
from stepaudio.hub import weights_digest
from stepaudio.interfaces import SpeakerEncoder

__all__ = ["PipelineVoice", "ResemblyzerVoice", "SpeakerSimilarity", "VoiceEmbedder"]

Vector: TypeAlias = NDArray[np.float64]

_RATE = 16000


@runtime_checkable
class VoiceEmbedder(Protocol):
    """Something that describes a voice by a vector."""

    @property
    def model(self) -> ModelId:
        """What describes."""

    def embed(self, audio: Audio) -> Vector | None:
        """``[D]`` description of the voice; None if there is too little of it."""


class ResemblyzerVoice:
    """Resemblyzer (Wan et al. 2018, generalised end-to-end loss): independent of this library.

    Its own preprocessing brings the level to -30 dBFS and cuts long pauses.

    Raises:
        MissingExtraError: Resemblyzer is not installed.
    """

    def __init__(self) -> None:
        self._package = need("resemblyzer", "speaker similarity")
        self._encoder: Any = self._package.VoiceEncoder("cpu", verbose=False)

    @property
    def model(self) -> ModelId:
        """Package and version; the weights are part of the package."""
        return ModelId("resemblyzer", package_version("resemblyzer"))

    def embed(self, audio: Audio) -> Vector | None:
        """``[256]`` unit vector; None if the package's voice detection leaves nothing."""
        samples = audio.resample(_RATE).samples.numpy()
        if not samples.any():
            return None
        speech = self._package.preprocess_wav(samples, source_sr=_RATE)
        if not len(speech):
            return None
        return np.asarray(self._encoder.embed_utterance(speech), dtype=np.float64)


class PipelineVoice:
    """The speaker encoder of a pipeline, CAM++ in the embedded and the published model.

    The decoder is conditioned on this very vector, so it flatters the pipeline it comes from:
    report it beside an independent one.

    Args:
        encoder: e.g. ``pipeline.parts.speaker``.
    """

    def __init__(self, encoder: SpeakerEncoder) -> None:
        self._encoder = encoder
        version = stepaudio.__version__
        if isinstance(encoder, torch.nn.Module):
            version += f" sha256:{weights_digest(encoder)}"
        self._model = ModelId(f"stepaudio/{type(encoder).__name__}", version)

    @property
    def model(self) -> ModelId:
        """Class, version of this library, digest of the weights."""
        return self._model

    def embed(self, audio: Audio) -> Vector | None:
        """``[D]`` embedding; None if the recording is too short for the encoder."""
        try:
            return self._encoder.embed(audio).double().cpu().numpy()
        except AudioError:
            return None


class SpeakerSimilarity:
    """Cosine to the source and margins against the other speakers' sources.

    Numbers of a sample: ``similarity``, cosine to its source; ``others_mean`` and ``others_max``,
    cosine to the other speakers of the set, each speaker counting once in the mean;
    ``margin_mean`` and ``margin_max``, how much nearer the source is than these. A recording with
    a positive ``margin_max`` is nearer to its own source than to every other speaker's. Margins
    are None in a set of one speaker; everything is None without a source.

    Args:
        embedder: what describes voices.
        voices: recordings of every speaker of the set by name; None takes the sources of the
            samples measured together, which then must be the whole set.
    """

    def __init__(
        self, embedder: VoiceEmbedder, *, voices: Mapping[str, Sequence[Audio]] | None = None
    ) -> None:
        self.embedder = embedder
        self.voices = voices
        # One recording is the source of several edits: embedded once.
        self._known: dict[bytes, Vector | None] = {}

    @property
    def name(self) -> str:
        """Names the embedder, for one report may have several."""
        return f"speaker:{self.embedder.model.name}"

    @property
    def model(self) -> ModelId:
        """The embedder."""
        return self.embedder.model

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """Compare every recording with its source and with the other speakers.

        Args:
            samples: recordings with sources and speakers.

        Returns:
            Numbers per sample.
        """
        voices = self.voices
        if voices is None:
            gathered: dict[str, list[Audio]] = {}
            for sample in samples:
                if sample.source is not None and sample.speaker:
                    gathered.setdefault(sample.speaker, []).append(sample.source)
            voices = gathered
        vectors = {speaker: self._of_voice(audios) for speaker, audios in voices.items()}
        return [self._compare(sample, vectors) for sample in samples]

    def _of_voice(self, audios: Sequence[Audio]) -> list[Vector]:
        """Descriptions of the distinct recordings of one speaker."""
        distinct = {_fingerprint(audio): audio for audio in audios}
        found = [self._of_source(audio) for audio in distinct.values()]
        return [vector for vector in found if vector is not None]

    def _of_source(self, audio: Audio) -> Vector | None:
        key = _fingerprint(audio)
        if key not in self._known:
            self._known[key] = _unit(self.embedder.embed(audio))
        return self._known[key]

    def _compare(
        self, sample: Sample, voices: Mapping[str, Sequence[Vector]]
    ) -> dict[str, float | None]:
        numbers: dict[str, float | None] = dict.fromkeys(
            ("similarity", "others_mean", "others_max", "margin_mean", "margin_max")
        )
        own = None if sample.source is None else self._of_source(sample.source)
        heard = None if own is None else _unit(self.embedder.embed(sample.audio))
        if own is None or heard is None:
            return numbers
        similarity = numbers["similarity"] = float(own @ heard)
        others = [
            [float(vector @ heard) for vector in vectors]
            for speaker, vectors in voices.items()
            if vectors and speaker != sample.speaker
        ]
        # An unnamed speaker could be any of the others.
        if others and sample.speaker:
            mean = numbers["others_mean"] = float(np.mean([np.mean(one) for one in others]))
            most = numbers["others_max"] = max(map(max, others))
            numbers["margin_mean"] = similarity - mean
            numbers["margin_max"] = similarity - most
        return numbers


def _fingerprint(audio: Audio) -> bytes:
    digest = hashlib.sha256(audio.samples.contiguous().numpy().tobytes())
    digest.update(str(audio.sample_rate).encode())
    return digest.digest()


def _unit(vector: Vector | None) -> Vector | None:
    if vector is None or not vector.any():
        return None
    unit: Vector = vector / np.linalg.norm(vector)
    return unit
