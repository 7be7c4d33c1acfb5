"""The vocoder hears what the flow decoder says.

Decoded mels are smoother than those of recordings. Each chosen recording is decoded once from its
own codes, with itself as the prompt; the vocoder then goes on training, half on these mels and half
on those of recordings, always towards the real sound. Listeners that learn along
(:mod:`recipes.nano.discriminator`) tell it where it still differs from recordings.

    python -m recipes.nano.tune_vocoder runs/nano/features MANIFEST -o runs/nano/vocoder_tuned
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from recipes.nano.codes import Codes
from recipes.nano.data.corpus import read_audio
from recipes.nano.data.features import Features
from recipes.nano.discriminator import SpectrogramDiscriminators, adversarial_losses
from recipes.nano.loop import run
from recipes.nano.machine import Machine
from recipes.nano.prefetch import Batch
from recipes.nano.train_flow import FRAMES_PER_UNIT
from recipes.nano.train_vocoder import BATCH, CROP_FRAMES, Crops, spectral_losses
from stepaudio.decoder.flow import TokenFlowDecoder
from stepaudio.decoder.istft import ISTFTVocoder
from stepaudio.decoder.mel import log_mel
from stepaudio.types import VoicePrompt

#: Longest decoded stretch, in units of 0.12 s.
LONGEST = 50
#: Weights of the losses by the listeners, reached after this share of the training: before, they
#: know nothing.
FOOL, MATCH, HEARD_AFTER = 0.2, 0.5, 0.1


@torch.no_grad()
def decode_recordings(
    features: Features, codes: Codes, flow: TokenFlowDecoder, count: int
) -> list[tuple[str, Tensor]]:
    """Paths of random real recordings and their decoded beginnings, ``[C, T]`` log-mel."""
    rng = np.random.default_rng(0)
    real = [
        item
        for item, row in enumerate(features.rows)
        if not row["id"].startswith("syn") and codes.units(item) * FRAMES_PER_UNIT > CROP_FRAMES
    ]
    decoded = []
    for item in track(rng.permutation(real)[:count].tolist(), "decode"):
        units = min(LONGEST, codes.units(item))
        tokens = codes.tokens(item, 0, units)
        mel = features.get(item, "mel", 0.0, units * 0.12).T
        voice = VoicePrompt(tokens, mel, codes.speaker(item), mel_spec=flow.spec.mel)
        noise = torch.Generator().manual_seed(item)
        said = flow.decode([tokens], [voice], guidance=0.0, generators=[noise])[0]
        decoded.append((str(features.rows[item]["path"]), said.cpu()))
    return decoded


def draw_decoded(
    decoded: Sequence[tuple[str, Tensor]], rng: np.random.Generator, count: int, rate: int, hop: int
) -> tuple[Tensor, Tensor]:
    """``[count, C, F]`` decoded mel and ``[count, S]`` of the recordings they should sound like."""
    mels: list[Tensor] = []
    sounds: list[npt.NDArray[np.float32]] = []
    while len(mels) < count:
        path, mel = decoded[int(rng.integers(len(decoded)))]
        start = int(rng.integers(0, mel.shape[1] - CROP_FRAMES + 1))
        # As the features were made: by way of 16 kHz.
        wide = soxr.resample(read_audio(path, 16000), 16000, rate)[
            start * hop : (start + CROP_FRAMES) * hop
        ]
        peak = float(np.abs(wide).max(initial=0.0))
        if len(wide) < CROP_FRAMES * hop or peak < 0.01:
            continue
        gain = rng.uniform(0.2, 0.95) / peak
        mels.append(mel[:, start : start + CROP_FRAMES] + float(np.log(gain)))
        sounds.append((wide * gain).astype(np.float32))
    return torch.stack(mels), torch.from_numpy(np.stack(sounds))


def main() -> None:
    """Decode, train on, and write the vocoder's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features")
    parser.add_argument("manifests", nargs="+", help="recordings for the other half")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--count", type=int, default=700, help="recordings to decode")
    parser.add_argument("--start", type=float, default=0.4, help="of the flow")
    parser.add_argument("--temperature", type=float, default=0.0, help="of the flow")
    parser.add_argument("--steps", type=int, default=2, help="of the flow")
    parser.add_argument("--minutes", type=float, default=15.0)
    Machine.add_arguments(parser)
    args = parser.parse_args()
    machine = Machine.from_arguments(args)
    torch.manual_seed(0)
    out = Path(args.out)
    flow = TokenFlowDecoder.from_pretrained(out.parent / "flow" / "model")
    vocoder = ISTFTVocoder.from_pretrained(out.parent / "vocoder" / "model").train()
    flow.config = replace(
        flow.config, start=args.start, temperature=args.temperature, steps=args.steps
    )
    features, spec = Features(args.features), vocoder.config.mel
    listeners = SpectrogramDiscriminators()
    decoded = decode_recordings(
        features, Codes(args.features), flow.to(machine.device).eval(), args.count
    )
    crops = Crops(args.manifests, CROP_FRAMES * spec.hop_length, spec.sample_rate)
    edge = 2 * spec.hop_length  # frames there see the reflected padding of the crop

    def draw(rng: np.random.Generator, progress: float) -> Batch:
        half = machine.scale * BATCH // 2
        real = crops.draw(rng, half)
        said, meant = draw_decoded(decoded, rng, half, spec.sample_rate, spec.hop_length)
        return {"real": real, "said": said, "meant": meant}

    def loss(batch: Batch, progress: float) -> dict[str, Tensor]:
        sound = torch.cat([batch["real"], batch["meant"]])
        fake = vocoder(torch.cat([log_mel(batch["real"], spec), batch["said"]]))[..., edge:-edge]
        sound = sound[..., edge:-edge]
        magnitude, phase = spectral_losses(fake, sound)
        mel = F.l1_loss(log_mel(fake, spec), log_mel(sound, spec))
        # What will be heard is decoded, so only that is judged; it costs as much as all the rest.
        judged = len(batch["real"])
        heard = adversarial_losses(listeners, fake[judged:], sound[judged:])
        trust = min(1.0, progress / HEARD_AFTER)
        told = trust * (FOOL * heard["fool"] + MATCH * heard["match"])
        return {
            "loss": magnitude + mel + phase + told + heard["listen"],
            "magnitude": magnitude, "mel": mel, "phase": phase, **heard,
        }  # fmt: skip

    run(
        out=out, models={"vocoder": vocoder, "listeners": listeners}, draw=draw, loss=loss,
        minutes=args.minutes, lr=5e-4, clip=5.0, machine=machine, exact=True,
        on_save=lambda: vocoder.save_pretrained(out / "model", force=True),
    )  # fmt: skip


if __name__ == "__main__":
    main()
