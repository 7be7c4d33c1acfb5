"""Voices: made from a recording once, saved, and used again.

A voice is what the flow decoder is conditioned on (published system, sections 5 and 6): the codes
of the recording, which are trimmed, and its mel and speaker embedding, which are not.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.decoder.mel import log_mel
from stepaudio.errors import AudioError, CheckpointError, SpecMismatchError
from stepaudio.hub import config_from_dict, load_tensors, write_atomic
from stepaudio.interfaces import SpeakerEncoder
from stepaudio.mel_filters import hz_to_mel, mel_to_hz
from stepaudio.offload import working
from stepaudio.tokenizers.preprocess import TOKEN_RATE, limit_peak, resample
from stepaudio.types import FlowSpec, MelSpec, SpeechTokens, TokenSpec, VoicePrompt

__all__ = [
    "Timbre",
    "check_voice",
    "embed_voice",
    "load_voice",
    "make_voice",
    "save_voice",
    "with_timbre",
]

_FORMAT = "stepaudio voice 1"
_TENSORS = {"linguistic", "semantic", "mel", "speaker"}

#: Below this no speaker embedding has a standard deviation.
MIN_SECONDS = 0.05

#: Decibels of one unit of the natural logarithm of a magnitude.
_DB_OF_E = 20 / math.log(10)


def make_voice(
    audio: Audio,
    tokens: SpeechTokens,
    speaker: SpeakerEncoder,
    mel_spec: MelSpec,
    *,
    transcript: str = "",
) -> VoicePrompt:
    """Describe a voice.

    The recording is limited to a peak of 0.6 at its own rate and resampled from there, to the
    decoder's rate for the mel and to 16 kHz for the speaker embedding; silence is kept.

    Args:
        audio: the recording.
        tokens: its codes.
        speaker: the speaker encoder.
        mel_spec: the flow decoder's front end.
        transcript: words spoken in it, if known.

    Returns:
        The voice.

    Raises:
        AudioError: the recording is too short for the mel or the speaker encoder.
    """
    if audio.seconds < MIN_SECONDS:
        raise AudioError(
            f"a recording of {audio.seconds:.3f} s is too short to hear a voice in; "
            f"give at least {MIN_SECONDS} s"
        )
    limited = limit_peak(audio.samples)
    mel = log_mel(resample(limited, audio.sample_rate, mel_spec.sample_rate), mel_spec)
    return VoicePrompt(tokens, mel, embed_voice(audio, speaker), transcript, mel_spec)


def embed_voice(audio: Audio, speaker: SpeakerEncoder) -> Tensor:
    """Who speaks, as the decoder is told and as voices are compared.

    Args:
        audio: the recording; see :func:`make_voice`.
        speaker: the speaker encoder.

    Returns:
        ``[D]`` on the CPU.

    Raises:
        AudioError: the recording is too short for the speaker encoder.
    """
    samples = resample(limit_peak(audio.samples), audio.sample_rate, TOKEN_RATE)
    with working(speaker):
        return speaker.embed(Audio(samples, TOKEN_RATE)).cpu()


@dataclass(frozen=True)
class Timbre:
    """How the colour of a voice changes, whatever it says.

    Attributes:
        formants: formant frequencies relative to the voice's own; above 1 for a shorter vocal
            tract.
        tilt_db: what 4 kHz gains over 500 Hz, evenly per octave from 125 Hz to 8 kHz.

    Raises:
        ValueError: formants are not above 0, or a number is not finite.
    """

    formants: float = 1.0
    tilt_db: float = 0.0

    def __post_init__(self) -> None:
        if not self.formants > 0 or not all(math.isfinite(x) for x in dataclasses.astuple(self)):
            raise ValueError(f"formants must be above 0 and all of it finite, not {self}")


def with_timbre(voice: VoicePrompt, timbre: Timbre) -> VoicePrompt:
    """The voice in another colour.

    A decoder whose codes tell the mel relative to the recording's average takes that average from
    the voice prompt, and with it formants and tilt: no codes can change them. So the mel of
    the prompt is changed. Harmonics move with the formants where the mel resolves them, and so does
    the pitch, though by less. Codes and speaker embedding stay: the decoder shall still know what
    was said in the prompt, and by whom.

    Args:
        voice: to change.
        timbre: how.

    Returns:
        The changed voice.
    """
    spec, bands = voice.mel_spec, voice.mel.shape[0]
    low = hz_to_mel(spec.fmin)
    step = (hz_to_mel(spec.fmax or spec.sample_rate / 2) - low) / (bands + 1)
    centres = mel_to_hz(low + step * torch.arange(1, bands + 1, dtype=torch.float64))
    heard = centres.new_tensor([hz_to_mel(hz / timbre.formants) for hz in centres.tolist()])
    # Beyond both ends the outermost band goes on.
    place = ((heard - low) / step - 1).clamp(0, bands - 1)
    below = place.floor().long().clamp(max=bands - 2)
    octaves = (centres.clamp(125.0, 8000.0) / 500.0).log2()
    gain = timbre.tilt_db * octaves / 3.0 / _DB_OF_E
    share, gain = (x[:, None].to(voice.mel) for x in (place - below, gain))
    below = below.to(voice.mel.device)
    mel = voice.mel[below] * (1 - share) + voice.mel[below + 1] * share + gain
    return dataclasses.replace(voice, mel=mel)


def check_voice(voice: VoicePrompt, spec: FlowSpec) -> None:
    """Refuse a voice that was made for another model.

    Args:
        voice: perhaps loaded from a file.
        spec: of the flow decoder that shall use it.

    Raises:
        SpecMismatchError: codebooks, front end or speaker size differ.
    """
    for name, made, wanted in (
        ("codebooks", voice.tokens.spec, spec.tokens),
        ("mel front end", voice.mel_spec, spec.mel),
        ("speaker embedding size", tuple(voice.speaker.shape), (spec.speaker_dim,)),
    ):
        if made != wanted:
            raise SpecMismatchError(
                f"the voice was made with the {name} {made} but the flow decoder reads {wanted}; "
                "make the voice again with this pipeline"
            )


def save_voice(voice: VoicePrompt, path: str | Path, *, force: bool = False) -> Path:
    """Write a voice into one safetensors file, which appears complete or not at all.

    Args:
        voice: to save.
        path: of the file, by custom ``.safetensors``.
        force: allow replacing an existing file.

    Returns:
        The path.

    Raises:
        OutputExistsError: the file exists and ``force`` is False.
    """
    tensors = {
        "linguistic": voice.tokens.linguistic,
        "semantic": voice.tokens.semantic,
        "mel": voice.mel,
        "speaker": voice.speaker,
    }
    stored = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    metadata = {
        "format": _FORMAT,
        "transcript": voice.transcript,
        "tokens": json.dumps(dataclasses.asdict(voice.tokens.spec)),
        "mel_spec": json.dumps(dataclasses.asdict(voice.mel_spec)),
    }
    return write_atomic(
        path,
        lambda temporary: safetensors.torch.save_file(stored, temporary, metadata=metadata),
        force=force,
    )


def load_voice(path: str | Path) -> VoicePrompt:
    """Read a voice.

    Args:
        path: written by :func:`save_voice`.

    Returns:
        The voice, on the CPU.

    Raises:
        CheckpointError: missing, damaged, or not a voice.
        TokenError: codes outside their codebooks.
    """
    tensors = load_tensors(path)
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    if metadata.get("format") != _FORMAT or set(tensors) != _TENSORS:
        raise CheckpointError(f"{path} is not a voice saved by stepaudio")
    try:
        specs = [json.loads(metadata[name]) for name in ("tokens", "mel_spec")]
        tokens = config_from_dict(TokenSpec, specs[0], path)
        mel_spec = config_from_dict(MelSpec, specs[1], path)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is a damaged voice file: {error}") from error
    codes = SpeechTokens(tensors["linguistic"], tensors["semantic"], tokens)
    transcript = metadata.get("transcript", "")
    return VoicePrompt(codes, tensors["mel"], tensors["speaker"], transcript, mel_spec)
