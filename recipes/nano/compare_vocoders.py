r"""Three kinds of vocoder at equal compute: frame-rate inverse STFT, HiFT, BigVGAN.

Each learns from scratch, from the same crops in the same order and with the same spectral losses,
for the same processor time; then recordings of speakers never heard are copied from their mels.
HiFT is driven by the measured pitch while it learns, and its own predictor learns that pitch.

    python -m recipes.nano.compare_vocoders MANIFEST --heldout EVAL_MANIFEST \
        -o runs/nano/vocoders --result docs/results/nano_vocoders.json --minutes 8
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recipes.nano.heard import COLUMNS, Clip, clips, heard, metrics, timed
from recipes.nano.loop import run
from recipes.nano.machine import Machine
from recipes.nano.prefetch import Batch
from recipes.nano.train_vocoder import CROP_FRAMES, Crops, spectral_losses
from recipes.nano.variant_report import table, write_report
from stepaudio.audio import Audio
from stepaudio.decoder.bigvgan import BigVGANVocoder
from stepaudio.decoder.bigvgan_config import BigVGANConfig
from stepaudio.decoder.hift import HiFTConfig, HiFTVocoder
from stepaudio.decoder.hift_source import draw_noise
from stepaudio.decoder.istft import ISTFTConfig, ISTFTVocoder
from stepaudio.decoder.mel import log_mel
from stepaudio.interfaces import Vocoder
from stepaudio.pitch_track import track_pitch

__all__ = ["VARIANTS", "Variant", "main"]

BATCH, CLIPS = 6, 12
#: Hz off that count as one of the spectral losses; the highest pitch of a voice.
PITCH_SCALE, HIGHEST = 50.0, 500.0


class Variant:
    """A vocoder and how it makes sound while it learns.

    Args:
        vocoder: untrained.
        speak: ``[B, C, T]`` mel and ``[B, T]`` pitch to ``[B, S]`` samples and a loss of its own.
        edge: frames at both sides that the sound lacks.
    """

    def __init__(
        self,
        vocoder: ISTFTVocoder | HiFTVocoder | BigVGANVocoder,
        speak: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        edge: int = 0,
    ) -> None:
        self.vocoder, self.speak, self.edge = vocoder, speak, edge


def frame_rate() -> Variant:
    """The embedded model's vocoder."""
    vocoder = ISTFTVocoder(ISTFTConfig.nano())
    return Variant(vocoder, lambda mel, pitch: (vocoder(mel), mel.new_zeros(())))


def hift() -> Variant:
    """The published system's vocoder at a quarter of its width."""
    vocoder = HiFTVocoder(HiFTConfig(base_channels=128, f0_channels=128))
    source = vocoder.m_source

    def speak(mel: Tensor, pitch: Tensor) -> tuple[Tensor, Tensor]:
        noise = draw_noise(len(mel), mel.shape[-1], source.hop_length, source.channels)
        off = F.l1_loss(vocoder.predict_f0(mel), pitch)
        return vocoder.decode(mel, source(pitch, noise)), off / PITCH_SCALE

    return Variant(vocoder, speak)


def bigvgan() -> Variant:
    """The paper's vocoder at a quarter of its width."""
    vocoder = BigVGANVocoder(BigVGANConfig(initial_channels=128))
    return Variant(vocoder, lambda mel, pitch: (vocoder(mel), mel.new_zeros(())), edge=3)


VARIANTS: dict[str, Callable[[], Variant]] = {
    "frame-rate iSTFT": frame_rate,
    "HiFT": hift,
    "BigVGAN": bigvgan,
}


def train(variant: Variant, crops: Crops, out: Path, minutes: float, machine: Machine) -> int:
    """Train one; the number of steps that fitted into its time."""
    spec = variant.vocoder.spec
    hop, edge = spec.hop_length, variant.edge * spec.hop_length

    def draw(rng: np.random.Generator, progress: float) -> Batch:
        real = crops.draw(rng, machine.scale * BATCH)
        sounds = [Audio(row, spec.sample_rate) for row in real]
        # The tracker counts its hop at 16 kHz.
        step = hop * 16000 // spec.sample_rate
        pitch = torch.stack([track_pitch(sound, hop=step)[:CROP_FRAMES] for sound in sounds])
        return {"real": real, "pitch": pitch.nan_to_num().clamp(0, HIGHEST)}

    def loss(batch: Batch, progress: float) -> dict[str, Tensor]:
        real = batch["real"]
        fake, own = variant.speak(log_mel(real, spec), batch["pitch"])
        real = real[..., edge : real.shape[-1] - edge]
        margin = (2 * hop, real.shape[-1] - 2 * hop)  # where the crop's mel saw its reflection
        fake, real = fake[..., slice(*margin)], real[..., slice(*margin)]
        magnitude, phase = spectral_losses(fake, real)
        sound = F.l1_loss(log_mel(fake, spec), log_mel(real, spec))
        return {
            "loss": magnitude + sound + phase + own,
            "magnitude": magnitude, "mel": sound, "phase": phase, "own": own,
        }  # fmt: skip

    run(
        out=out, models={"vocoder": variant.vocoder}, draw=draw, loss=loss, minutes=minutes,
        lr=1e-3, clip=5.0, machine=machine, exact=True,
    )  # fmt: skip
    return int(torch.load(out / "state.pt", weights_only=True)["step"])


def copy(vocoder: Vocoder, clip: Clip) -> Audio:
    """A recording from its mel alone."""
    spec = vocoder.spec
    mel = log_mel(clip.audio.resample(spec.sample_rate).samples[None], spec)
    noise = torch.Generator().manual_seed(0)
    return Audio(vocoder.synthesize(mel, generator=noise)[0].float(), spec.sample_rate)


def main() -> None:
    """Train, measure and write all; one that is finished is not trained again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", nargs="+", help="training speech")
    parser.add_argument("--heldout", required=True, help="manifest of other speakers")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--result", required=True, help="JSON file")
    parser.add_argument("--minutes", type=float, default=8.0)
    Machine.add_arguments(parser)
    args = parser.parse_args()
    machine, measures = Machine.from_arguments(args), metrics()
    sources = clips(args.heldout, CLIPS)
    found: dict[str, Any] = {
        "recordings": heard({clip.id: clip.audio for clip in sources}, sources, measures)
    }
    for name, build in VARIANTS.items():
        torch.manual_seed(0)
        variant = build()
        spec = variant.vocoder.spec
        crops = Crops(args.manifests, CROP_FRAMES * spec.hop_length, spec.sample_rate)
        steps = train(
            variant, crops, Path(args.out) / name.replace(" ", "_"), args.minutes, machine
        )
        vocoder = variant.vocoder.cpu().eval()
        made, factor = timed(partial(copy, vocoder), sources)
        found[name] = {
            "parameters": sum(p.numel() for p in vocoder.parameters()),
            "steps": steps,
            "realtime_factor": factor,
            **heard(made, sources, measures),
        }
    page = table("copy synthesis", COLUMNS, found)
    write_report(args.result, page, minutes=args.minutes, clips=len(sources), variants=found)


if __name__ == "__main__":
    main()
