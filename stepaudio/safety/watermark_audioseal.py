"""AudioSeal as a watermarker: a trained pair of networks, 16 bits, heard sample by sample.

San Roman et al. 2024, "Proactive Detection of Voice Cloning with Localized Watermarking"
(arXiv:2401.17264). Needs the extra ``audioseal`` and two files of weights: ``generator_base.pth``
and ``detector_base.pth`` of ``facebook/audioseal``. The package would fetch and unpickle them
without restriction; here files are given, and only tensors and plain settings are read from them.
It has not been measured by this library's benchmarks (``docs/watermark.md``).
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import math
import pickle
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.errors import MissingExtraError, WatermarkError
from stepaudio.safety.watermark import Detection, Watermarker
from stepaudio.safety.watermark_blocks import BlockStream, fitted
from stepaudio.safety.watermark_code import check_payload

__all__ = ["AudioSealWatermarker"]

#: Of the networks, Hz.
RATE = 16000

_BITS = 16
_CARDS = ("audioseal_wm_16bits", "audioseal_detector_16bits")

# The networks were trained to tell by seconds; marks are looked for in seconds, every 10 ms.
_WINDOW = 1.0
_FRAME = 160
_PART = 30 * RATE

# In training the sums that stand for bits were divided by this before they became chances
# (`wm_mb.temperature` of the published recipe); undivided, they say less than the network knows.
_TEMPERATURE = 0.1
_SURE = 0.99


class AudioSealWatermarker(Watermarker):
    """Marks and listens with AudioSeal; the mark lies below 8 kHz, whatever the recording's rate.

    Scores are shares: of the samples of a second, how many the detector takes for marked, in the
    second with most of them. The payload has 16 bits, the lowest first in AudioSeal's message, and
    its score is the chance, as the detector was trained to tell it, that all are right.

    Args:
        generator: file of weights of the marking network, ``.pth`` or ``.safetensors``.
        detector: the same of the listening network.
        threshold: share of a second's samples from which on a mark is said to be there.

    Raises:
        MissingExtraError: AudioSeal is not installed.
        WatermarkError: a file is missing, is not safe to read or does not fit, or the threshold is
            not a share.
    """

    def __init__(
        self, generator: str | Path, detector: str | Path, *, threshold: float = 0.5
    ) -> None:
        if not 0 < threshold <= 1:
            raise WatermarkError(f"the threshold is a share above 0 and up to 1, not {threshold}")
        try:
            from audioseal import builder, loader
        except ImportError as error:
            raise MissingExtraError(
                f"AudioSeal is needed ({error}); pip install 'stepaudio[audioseal]'"
            ) from error
        configs = (builder.AudioSealWMConfig, builder.AudioSealDetectorConfig)
        makers = (builder.create_generator, builder.create_detector)
        self._generator, self._detector = (
            _network(loader, card, config, make, Path(path))
            for card, config, make, path in zip(
                _CARDS, configs, makers, (generator, detector), strict=True
            )
        )
        self.threshold = threshold

    @property
    def name(self) -> str:
        """See :attr:`Watermarker.name`."""
        return "audioseal-16bits-1"

    @property
    def payload_bits(self) -> int:
        """See :attr:`Watermarker.payload_bits`."""
        return _BITS

    def stream(
        self,
        payload: int,
        sample_rate: int,
        *,
        spans: Sequence[tuple[float, float]] | None = None,
    ) -> BlockStream:
        """See :meth:`Watermarker.stream`; sound comes out half a minute at a time."""
        check_payload(payload, _BITS)
        if sample_rate < RATE:
            raise WatermarkError(
                f"sound of {sample_rate} Hz is too narrow for AudioSeal, which needs at least "
                f"{RATE} Hz; resample it, or use the built-in watermark"
            )
        message = torch.tensor([[payload >> bit & 1 for bit in range(_BITS)]])

        def mark_of(sound: Tensor) -> Tensor:
            with _eagerly():
                mark: Tensor = self._generator.get_watermark(sound[None, None], message=message)
            return mark[0, 0]

        return BlockStream(mark_of, RATE, sample_rate, spans)

    def detect(self, audio: Audio) -> Detection:
        """See :meth:`Watermarker.detect`; the longest marked stretch is read."""
        sound = audio.resample(RATE).samples
        shares = self._shares(sound)
        spans = self._spans(shares, audio.seconds)
        payload, sure = None, 0.0
        if spans:
            start, end = max(spans, key=lambda span: span[1] - span[0])
            payload, sure = self._read(sound[round(start * RATE) : round(end * RATE)][:_PART])
        return Detection(
            found=bool(spans),
            score=float(shares.max()),
            threshold=self.threshold,
            payload=payload if sure >= _SURE else None,
            payload_score=sure,
            speed=1.0,
        )

    def localise(self, audio: Audio) -> tuple[tuple[float, float], ...]:
        """See :meth:`Watermarker.localise`."""
        return self._spans(self._shares(audio.resample(RATE).samples), audio.seconds)

    def _listen(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        """``[S]`` the chance that a sample is marked, and ``[16]`` that a bit is 1."""
        padded = fitted(sound, max(len(sound), round(_WINDOW * RATE)))
        with _eagerly():
            result, message = self._detector(padded[None, None])
        return result[0, 1, : len(sound)], message[0]

    def _shares(self, sound: Tensor) -> Tensor:
        """``[frames]`` how much is marked of the second around each frame of 10 ms."""
        marked = [
            (self._listen(sound[begin : begin + _PART])[0] > 0.5).double()
            for begin in range(0, len(sound), _PART)
        ]
        count = math.ceil(len(sound) / _FRAME)
        frames = fitted(torch.cat(marked), count * _FRAME).view(count, _FRAME).mean(dim=1)
        before = torch.cat([torch.zeros(1).double(), frames.cumsum(0)])
        at = torch.arange(count)
        half = round(_WINDOW * RATE / _FRAME) // 2
        first, last = (at - half).clamp(min=0), (at + half).clamp(max=count - 1) + 1
        return (before[last] - before[first]) / (last - first)

    def _spans(self, shares: Tensor, seconds: float) -> tuple[tuple[float, float], ...]:
        """Where the shares reach the threshold, seconds."""
        found: list[tuple[float, float]] = []
        frame = 0
        for marked, run in itertools.groupby((shares >= self.threshold).tolist()):
            begin, frame = frame, frame + len(list(run))
            start, end = begin * _FRAME / RATE, min(frame * _FRAME / RATE, seconds)
            if marked and start < end:
                found.append((start, end))
        return tuple(found)

    def _read(self, sound: Tensor) -> tuple[int, float]:
        """The payload, and the chance that it is right."""
        chances = self._listen(sound)[1].double().clamp(1e-6, 1 - 1e-6)
        payload = sum(1 << bit for bit, chance in enumerate(chances.tolist()) if chance > 0.5)
        right = torch.sigmoid(torch.logit(chances).abs() / _TEMPERATURE)
        return payload, float(right.prod())


@contextlib.contextmanager
def _eagerly() -> Iterator[None]:
    """Run networks as they are: the package compiles them, for minutes at each new length."""
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        yield


def _network(loader: Any, card: str, config: Any, make: Any, path: Path) -> Any:
    """A network of the package with the weights of a file."""
    tensors = _tensors(path)
    try:
        settings = loader.AudioSeal.parse_config(
            loader.load_local_model_config(card), config_type=config
        )
        network = make(settings)
        loader.load_state_dict(network, loader.convert_state_dict_for_scriptable_model(tensors))
    except (AssertionError, AttributeError, KeyError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]  # torch lists every tensor after it
        raise WatermarkError(
            f"{str(path)!r} does not hold the weights of {card} ({reason}); give "
            "generator_base.pth and detector_base.pth of facebook/audioseal"
        ) from error
    return network.eval()


def _tensors(path: Path) -> dict[str, Tensor]:
    """The weights in a file; nothing is run that it may contain."""
    if not path.is_file():
        raise WatermarkError(
            f"{str(path)!r} is not a file; download the weights first: "
            "hf download facebook/audioseal generator_base.pth detector_base.pth --local-dir ."
        )
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with torch.serialization.safe_globals(_settings()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, SafetensorError) as error:
        raise WatermarkError(
            f"{str(path)!r} holds more than weights and settings, or is damaged, and is not read; "
            "download it again, or save its state dict as .safetensors"
        ) from error
    content = content.get("best_state", content)
    weights: dict[str, Tensor] = content.get("model", content)
    return weights


def _settings() -> list[Any]:
    """What the published files hold beside tensors: classes that only keep values."""
    from omegaconf import DictConfig, ListConfig, base, nodes

    plain = [dict, list, int, float, str, bool, collections.defaultdict, typing.Any]
    kept = [nodes.AnyNode, nodes.StringNode, nodes.IntegerNode, nodes.FloatNode, nodes.BooleanNode]
    return [*plain, *kept, DictConfig, ListConfig, base.ContainerMetadata, base.Metadata]
