"""How good does it sound: DNSMOS and DistillMOS, two networks that guess listeners' opinions.

Both answer on the scale of listening tests, 1 (bad) to 5 (excellent). They were trained on clean,
noisy and coded speech, not on whispers, shouts or laughter, and rate those low for what they are.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch

from stepaudio.audio import Audio
from stepaudio.evaluation.contracts import ModelId, Sample
from stepaudio.evaluation.extras import need, package_version

__all__ = ["DistillMos", "Dnsmos"]

_RATE = 16000


class Dnsmos:
    """DNSMOS P.835 and P.808 (Reddy et al. 2021, 2022) through speechmos.

    Numbers of a sample: ``sig`` (the speech itself), ``bak`` (lack of background noise),
    ``ovrl`` (overall) and ``p808`` (overall, another network). Recordings shorter than 9 s are
    repeated until they are as long; longer ones are averaged over windows a second apart. All are
    None in digital silence.

    Raises:
        MissingExtraError: speechmos, or librosa which it needs, is not installed.
    """

    name = "dnsmos"

    def __init__(self) -> None:
        self._package = need("speechmos.dnsmos", "DNSMOS")

    @property
    def model(self) -> ModelId:
        """Package and version; the weights are part of the package."""
        return ModelId("speechmos/dnsmos", package_version("speechmos"))

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """Rate every recording; its text and source play no part.

        Args:
            samples: recordings of any rate; they are clipped to [-1, 1].

        Returns:
            Numbers per sample.
        """
        return [self._rate(sample.audio) for sample in samples]

    def _rate(self, audio: Audio) -> dict[str, float | None]:
        signal = audio.resample(_RATE).samples.numpy().clip(-1, 1)
        keys = ("sig", "bak", "ovrl", "p808")
        if not signal.any():
            return dict.fromkeys(keys)
        found = self._package.run(signal, sr=_RATE)
        return {key: float(found[f"{key}_mos"]) for key in keys}


class DistillMos:
    """DistillMOS (Stahl and Gamper 2025), distilled from a large self-supervised model.

    Number of a sample: ``mos``; None in digital silence. The weights come with the package, so
    nothing is downloaded.

    Raises:
        MissingExtraError: distillmos is not installed, or cannot be imported.
    """

    name = "distillmos"

    def __init__(self) -> None:
        with _without_torchaudio():
            package = need("distillmos", "DistillMOS")
        # The package prints where its weights are; what a program prints is its own affair.
        with contextlib.redirect_stdout(None):
            self._network: Any = package.ConvTransformerSQAModel().eval()

    @property
    def model(self) -> ModelId:
        """Package and version; the weights are part of the package."""
        return ModelId("distillmos", package_version("distillmos"))

    @torch.no_grad()
    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """Rate every recording; its text and source play no part.

        Args:
            samples: recordings of any rate.

        Returns:
            Numbers per sample.
        """
        return [{"mos": self._rate(sample.audio)} for sample in samples]

    def _rate(self, audio: Audio) -> float | None:
        signal = audio.resample(_RATE).samples
        if not bool(signal.any()):
            return None
        return float(np.asarray(self._network(signal[None])).reshape(-1)[0])


@contextlib.contextmanager
def _without_torchaudio() -> Iterator[None]:
    """Let a package be imported that needs torchaudio for nothing but its own command line.

    Torchaudio fits one build of torch only, and is often there and cannot be loaded.
    """
    before = sys.modules.get("torchaudio")
    if before is None:
        sys.modules["torchaudio"] = ModuleType("torchaudio")
    try:
        yield
    finally:
        if before is None:
            sys.modules.pop("torchaudio", None)
