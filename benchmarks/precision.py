"""Flow and vocoder in bfloat16 beside float32: how much faster, and how near.

    python benchmarks/precision.py [--models nano release] [--seconds S] [--repeats N]
        [--manifest MANIFEST.jsonl] [--set NAME] [--clips N] [-o FILE.json]

The embedded model, and random weights of the published shapes. Both types take turns, and a row is
the median of the repeats, the first turn left out. Beside it stands how far the bfloat16 result is
from that of float32, in dB: of the mel, and of the waveform, which for a flow a float32 vocoder
makes of both mels. The library has the flow in bfloat16 (``flow_dtype``); vocoders are cast as a
whole here, to see what that would bring.

With a manifest, recordings are turned into codes and back by the embedded model with the flow in
either type, and a recogniser counts the wrong words of both; needs ``pip install
'stepaudio[eval]'``.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from machine import describe, load, seconds
from models import MODELS, Model, load_model
from stage_work import flow_work, vocoder_work
from torch import Tensor, nn

from stepaudio import Audio, EditPipeline
from stepaudio.decoder.bigvgan import BigVGANVocoder
from stepaudio.decoder.bigvgan_config import BigVGANConfig
from stepaudio.decoder.mel import log_mel
from stepaudio.devices import cpu_capabilities
from stepaudio.evaluation.recordings import read_recordings

SEED = 0
#: Clips are as long as what a recogniser hears in one piece.
_SHORTEST, _LONGEST = 3.0, 15.0


@dataclass(frozen=True)
class Stage:
    """One stage in both types.

    Attributes:
        model: its name.
        name: of the stage.
        one: in float32; gives mel or samples of one clip.
        other: the same in bfloat16.
        listen: the result of either to mel ``[1, C, T]`` and samples ``[1, S]``.
    """

    model: str
    name: str
    one: Callable[[], list[Tensor]]
    other: Callable[[], list[Tensor]]
    listen: Callable[[Tensor], tuple[Tensor, Tensor]]


def stages_of(model: Model, length: float) -> Iterator[Stage]:
    """The flow and the vocoders of a model.

    Args:
        model: with float32 parts.
        length: of the clip, seconds; the voice prompt of the flow is as long.

    Yields:
        Stages.
    """

    def cast(model: Model, role: str) -> Model:
        part = copy.deepcopy(getattr(model.parts, role)).bfloat16()
        return replace(model, parts=replace(model.parts, **{role: part}))

    def of_flow(mel: Tensor) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(SEED)
        return mel[None], model.parts.vocoder.synthesize(mel[None], generator=generator)

    def of_vocoder(wave: Tensor) -> tuple[Tensor, Tensor]:
        return log_mel(wave, model.parts.vocoder.spec), wave

    flows = (flow_work(one, length, 1) for one in (model, cast(model, "flow")))
    yield Stage(model.name, "flow", *flows, of_flow)
    models = [model]
    if model.name == "release":
        other = awake(BigVGANVocoder(BigVGANConfig.release()))
        models.append(replace(model, parts=replace(model.parts, vocoder=other)))
    for one in models:
        works = (vocoder_work(each, length, 1) for each in (one, cast(one, "vocoder")))
        yield Stage(model.name, type(one.parts.vocoder).__name__, *works, of_vocoder)


def awake(part: Any) -> Any:
    """A part with random weights, whose matrices of zeros would hide all that is before them."""
    generator = torch.Generator().manual_seed(SEED)
    for values in part.parameters():
        if values.dim() > 1 and not values.any():
            nn.init.normal_(values, std=0.02, generator=generator)
    return part.requires_grad_(False).eval()


def measure(stage: Stage, repeats: int) -> dict[str, Any]:
    """One row.

    Args:
        stage: in both types.
        repeats: turns that count.
    """
    results = [work()[0] for work in (stage.one, stage.other)]
    spent = [[seconds(work) for work in (stage.one, stage.other)] for _ in range(repeats)]
    one, other = (statistics.median(turns) for turns in zip(*spent, strict=True))
    (mel, wave), (near_mel, near_wave) = map(stage.listen, results)
    return {
        "model": stage.model,
        "stage": stage.name,
        "float32": round(one, 6),
        "bfloat16": round(other, 6),
        "ratio": round(one / other, 3),
        "mel_db": decibels(mel, near_mel),
        "wave_db": decibels(wave, near_wave),
    }


def decibels(wanted: Tensor, found: Tensor) -> float:
    """Power of what is wanted over that of the difference."""
    power, difference = (x.double().square().mean() for x in (wanted, wanted - found))
    return round(float(10 * torch.log10(power / difference)), 1)


def words(manifest: Path, chosen: str, count: int) -> dict[str, Any]:
    """Wrong words of recordings that went through the embedded model, by type of its flow.

    Args:
        manifest: of recordings with their words.
        chosen: set of the manifest.
        count: of recordings.
    """
    from stepaudio.evaluation.normalize import words as words_of
    from stepaudio.evaluation.recognizer import WhisperRecognizer
    from stepaudio.evaluation.words import count_errors, pool

    found = [one for one in read_recordings(manifest) if one.set == chosen and one.text]
    heard = [(one, Audio.load(one.path)) for one in found]
    heard = [(one, sound) for one, sound in heard if _SHORTEST <= sound.seconds <= _LONGEST]
    # Speakers stand together, so the recordings are taken from all over the list.
    heard = heard[:: max(1, len(heard) // count)][:count]
    listener = WhisperRecognizer()
    report: dict[str, Any] = {"recognizer": listener.model.name, "clips": len(heard)}
    transcripts = []
    for kind in ("float32", "bfloat16"):
        pipe = EditPipeline.from_pretrained(device="cpu", flow_dtype=kind, watermarker=None)
        made = [pipe.resynthesize(sound, seed=SEED).audio for _, sound in heard]
        transcripts.append(listener.transcribe(made, "en"))
        total = pool(
            count_errors(words_of(one.text), words_of(text))
            for (one, _), text in zip(heard, transcripts[-1], strict=True)
        )
        report[kind] = {"errors": total.errors, "words": total.reference}
    same = zip(*transcripts, strict=True)
    return report | {"same_transcript": sum(one == other for one, other in same)}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--manifest", type=Path, help="recordings with words, for a recogniser")
    parser.add_argument("--set", default="librispeech", help="of the manifest")
    parser.add_argument("--clips", type=int, default=8, help="of the set")
    args = parser.parse_args()
    report = {
        **describe(SEED),
        "bfloat16_units": bfloat16_units(),
        "load": load(),
        "seconds_in": args.seconds,
        "repeats": args.repeats,
        "rows": [],
    }
    with torch.no_grad():
        for name in args.models:
            # Of the language model, which has no part in this, as little as there can be.
            model = load_model(name, 1, SEED)
            awake(model.parts.flow)
            for stage in stages_of(model, args.seconds):
                report["rows"].append(measure(stage, args.repeats))
                print(json.dumps(report["rows"][-1]), flush=True)
    if args.manifest:
        report["words"] = words(args.manifest, args.set, args.clips)
        print(json.dumps(report["words"]))
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def bfloat16_units() -> list[str]:
    """What the CPU has for products in bfloat16, as far as PyTorch tells."""
    found = cpu_capabilities()
    return [name for name in ("avx512_bf16", "amx_bf16") if found.get(name)]


if __name__ == "__main__":
    main()
