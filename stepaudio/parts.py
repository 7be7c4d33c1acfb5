"""The six parts of a pipeline: do they fit, where are they kept, which kinds are there.

A pipeline folder holds ``pipeline.json`` and one sub-folder per part, each as written by the
part's own ``save_pretrained``. What the file may name is the closed dict :data:`KINDS`; nothing
else is ever looked up.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from stepaudio.decoder.bigvgan import BigVGANVocoder
from stepaudio.decoder.flow import TokenFlowDecoder
from stepaudio.decoder.griffin_lim import GriffinLim
from stepaudio.decoder.hift import HiFTVocoder
from stepaudio.decoder.istft import ISTFTVocoder
from stepaudio.decoder.speaker import CAMPPlus
from stepaudio.edits import EDIT_KINDS, Edit
from stepaudio.errors import CheckpointError, OutputExistsError, SpecMismatchError
from stepaudio.hub import Pretrained, config_from_dict, read_json, write_atomic
from stepaudio.interfaces import (
    FlowDecoder,
    SpeakerEncoder,
    SpeechLM,
    TextTokenizer,
    Tokenizer,
    Vocoder,
)
from stepaudio.lm.quantize import Bits
from stepaudio.lm.step1 import Step1LM
from stepaudio.manner import Manner
from stepaudio.prompts import Layout
from stepaudio.recording_edits import MANNER_EDITS, RECORDING_EDITS, SPEED_LABELS
from stepaudio.tokenizers.dual import DualCodebookTokenizer
from stepaudio.tokenizers.text import EOT, SentencePieceText
from stepaudio.types import MelSpec, SamplingParams, TokenSpec
from stepaudio.voice import Timbre

__all__ = [
    "KINDS",
    "PIPELINE_FILE",
    "ROLES",
    "Defaults",
    "Parts",
    "check_fit",
    "load_defaults",
    "load_part",
    "load_parts",
    "save_parts",
    "write_manifest",
]

PIPELINE_FILE = "pipeline.json"

#: Everything a ``pipeline.json`` can name.
KINDS: dict[str, type[Pretrained] | type[SentencePieceText] | type[GriffinLim]] = {
    "dual_codebook": DualCodebookTokenizer,
    "text": SentencePieceText,
    "step1": Step1LM,
    "token_flow": TokenFlowDecoder,
    "hift": HiFTVocoder,
    "bigvgan": BigVGANVocoder,
    "istft": ISTFTVocoder,
    "griffin_lim": GriffinLim,
    "campplus": CAMPPlus,
}

#: The interface each part must have.
ROLES: dict[str, Any] = {
    "tokenizer": Tokenizer,
    "text": TextTokenizer,
    "lm": SpeechLM,
    "flow": FlowDecoder,
    "vocoder": Vocoder,
    "speaker": SpeakerEncoder,
}


@dataclass(frozen=True)
class Parts:
    """One object per stage.

    Attributes:
        tokenizer: recordings to codes.
        text: prompts to ids.
        lm: ids to ids.
        flow: codes and a voice to mel.
        vocoder: mel to sound.
        speaker: recordings to a description of the voice.
    """

    tokenizer: Tokenizer
    text: TextTokenizer
    lm: SpeechLM
    flow: FlowDecoder
    vocoder: Vocoder
    speaker: SpeakerEncoder


#: Seconds below which a part of a recording has too little to go by.
SHORTEST_PART = 2.0


@dataclass(frozen=True)
class Defaults:
    """How a model wants to be run unless the caller says otherwise.

    Attributes:
        sampling: of the language model.
        steps: of the flow; None leaves it to the decoder.
        guidance: of the flow; None leaves it to the decoder.
        layout: how prompts are written.
        max_length_ratio: an edit may become this many times as long as its input.
        draws: times the language model writes an edit, of which the best is kept; see
            :mod:`stepaudio.redraw`.
        speeds: length relative to the input that speed edits were taught, by the label of the
            prompt, such as ``{"faster": 0.77}``; what is not named has no length to miss.
        timbres: colour of the voice an edit is spoken in, by the label of the prompt, such as
            ``{"child": Timbre(formants=1.1)}``; for a decoder that takes it from its voice prompt
            whatever the codes say, see :func:`stepaudio.voice.with_timbre`.
        part_seconds: recordings longer than this are edited in parts, cut at pauses and written
            together, each drawn and kept by itself: a small model does not lose its place in a
            short one. Of one that sounds are put in, only the stretch around them is edited (see
            :mod:`stepaudio.sound_places`), and the rest stays as it is, sample for sample. An edit
            that is streamed is written as a whole. Texts that take longer to say are spoken in
            parts likewise (see :mod:`stepaudio.sentences`). None writes everything as a whole.
        guidance_words: of the language model, how far to keep away from what it would write if the
            recording were in disorder (see :mod:`stepaudio.lm.guidance`): 0 is not at all, and more
            keeps more of the words. A model that cannot be guided, such as one behind a server, is
            not; likewise below.
        guidance_edit: by label of an edit, as the published prompts spell it, or by its kind where
            that has no labels: how far to keep away from what it would write if nothing were asked
            for. More goes further with the edit; what is not named is not guided so.
        guidance_text: of words spoken in a voice, how far to keep away from what it would say if
            their letters were in disorder: more follows the text closer.
        on_recording: kinds of edits that are made on the recording itself, by
            :func:`~stepaudio.recording_edits.edit_recording`, instead of being written anew: they
            lose no word. Another voice then speaks the codes of what comes out.
        manners: how an emotion or a style that is made on the recording changes it, by the label of
            the prompt, such as ``{"child": Manner(pitch=5, formants=1.16)}``; labels that are not
            named are written anew.
    """

    sampling: SamplingParams = field(default_factory=lambda: SamplingParams(max_new_tokens=8192))
    steps: int | None = None
    guidance: float | None = None
    layout: Layout = "v2"
    max_length_ratio: float = 3.0
    draws: int = 1
    speeds: Mapping[str, float] = field(default_factory=dict)
    timbres: Mapping[str, Timbre] = field(default_factory=dict)
    part_seconds: float | None = None
    guidance_words: float = 0.0
    guidance_edit: Mapping[str, float] = field(default_factory=dict)
    guidance_text: float = 0.0
    on_recording: tuple[str, ...] = ()
    manners: Mapping[str, Manner] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in [
            ("guidance_words", self.guidance_words),
            ("guidance_text", self.guidance_text),
            *(
                (f"guidance_edit of {label!r}", value)
                for label, value in self.guidance_edit.items()
            ),
        ]:
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value} but must be 0 (none) or more")
        if self.draws < 1:
            raise ValueError(f"draws is {self.draws} but must be 1 or more")
        if not all(isinstance(v, int | float) and v > 0 for v in self.speeds.values()):
            raise ValueError(f"speeds must be above 0, not {dict(self.speeds)}")
        if self.part_seconds is not None and not self.part_seconds >= SHORTEST_PART:
            raise ValueError(
                f"part_seconds is {self.part_seconds} but must be at least {SHORTEST_PART:g}"
            )
        if unknown := set(self.on_recording) - set(RECORDING_EDITS):
            raise ValueError(
                f"only {sorted(RECORDING_EDITS)} can be done on the recording itself, "
                f"not {sorted(unknown)}"
            )
        labels = {label for kind in MANNER_EDITS for label in EDIT_KINDS[kind].labels}
        if unknown := set(self.manners) - labels:
            raise ValueError(
                f"manners are for labels of {' or '.join(MANNER_EDITS)}, not {sorted(unknown)}"
            )
        if "speed" in self.on_recording and (missing := set(SPEED_LABELS) - set(self.speeds)):
            raise ValueError(
                f"to change the tempo of the recording itself, speeds must also say how long "
                f"{', '.join(sorted(missing))} makes it"
            )

    def changes_recording(self, edit: Edit) -> bool:
        """Whether an edit is made on the recording itself, and nothing is written anew."""
        if edit.kind not in self.on_recording:
            return False
        return edit.kind not in MANNER_EDITS or edit.published_label in self.manners


def check_fit(parts: Parts) -> None:
    """Refuse parts that do not fit each other.

    Args:
        parts: of one pipeline.

    Raises:
        SpecMismatchError: the message names both parts, both values and the fix.
    """
    for role, interface in ROLES.items():
        part = getattr(parts, role)
        if not isinstance(part, interface):
            raise SpecMismatchError(
                f"the {role} must be a stepaudio.interfaces.{interface.__name__}, "
                f"not a {type(part).__name__}"
            )
    lm, flow = parts.lm.spec, parts.flow.spec
    said_tokens = {
        "tokenizer": parts.tokenizer.spec.tokens,
        "language model": lm.tokens,
        "flow decoder": flow.tokens,
    }
    _check_tokens(said_tokens, "tokenizer", "language model")
    _check_tokens(said_tokens, "tokenizer", "flow decoder")
    _check_mel(flow.mel, parts.vocoder.spec)
    if parts.speaker.dim != flow.speaker_dim:
        raise SpecMismatchError(
            f"the speaker encoder gives {parts.speaker.dim} values but the flow decoder reads "
            f"{flow.speaker_dim}; use the speaker encoder the decoder was trained with"
        )
    _check_text(parts)


def load_parts(
    folder: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    flow_dtype: torch.dtype = torch.float32,
    bits: Bits | None = None,
    offload: bool = False,
    **overrides: object,
) -> Parts:
    """Load a pipeline folder.

    Args:
        folder: holds ``pipeline.json``.
        device: where the loaded parts shall be.
        dtype: of the language model.
        flow_dtype: of the flow decoder; the other parts run in float32, as published.
        bits: of the weights of the language model; None takes them as they are stored.
        offload: read weights only while they are needed; see :mod:`stepaudio.offload`.
        **overrides: objects to use instead of loading that part; they stay where they are.

    Returns:
        All parts, in evaluation mode, checked for fit.

    Raises:
        CheckpointError: a file is missing or damaged, or names an unknown kind.
        SpecMismatchError: the parts do not fit each other.
    """
    folder = Path(folder)
    parts: dict[str, Any] = {
        role: load_part(
            folder,
            role,
            device=device,
            dtype=dtype,
            flow_dtype=flow_dtype,
            bits=bits,
            offload=offload,
        )
        if overrides.get(role) is None
        else overrides[role]
        for role in ROLES
    }
    unknown = sorted(set(overrides) - set(ROLES))
    if unknown:
        raise CheckpointError(f"a pipeline has no part {unknown[0]!r}; it has {', '.join(ROLES)}")
    loaded = Parts(**parts)
    check_fit(loaded)
    return loaded


def load_part(
    folder: str | Path,
    role: str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    flow_dtype: torch.dtype = torch.float32,
    bits: Bits | None = None,
    offload: bool = False,
) -> Any:
    """Load one part of a pipeline folder.

    Args:
        folder: holds ``pipeline.json``.
        role: a key of :data:`ROLES`.
        device: where the part shall be.
        dtype: of the language model.
        flow_dtype: of the flow decoder; the other parts run in float32, as published.
        bits: of the weights of the language model; None takes them as they are stored.
        offload: read weights only while they are needed; see :mod:`stepaudio.offload`.

    Returns:
        The part, in evaluation mode.

    Raises:
        CheckpointError: a file is missing or damaged, or names an unknown kind.
    """
    folder = Path(folder)
    kind = _read_manifest(folder)["parts"].get(role)
    if not isinstance(kind, str) or kind not in KINDS:
        raise CheckpointError(
            f"{folder / PIPELINE_FILE} says {kind!r} for the {role}; known kinds are "
            f"{', '.join(KINDS)}"
        )
    part_class = KINDS[kind]
    where, kept = folder / role, {"lm": dtype, "flow": flow_dtype}.get(role, torch.float32)
    if issubclass(part_class, Step1LM):
        return part_class.from_pretrained(
            where, dtype=kept, device=device, offload=offload, bits=bits
        )
    if issubclass(part_class, Pretrained):
        return part_class.from_pretrained(where, dtype=kept, device=device, offload=offload)
    return part_class.from_pretrained(where)


def load_defaults(folder: str | Path) -> Defaults:
    """Read how a model wants to be run.

    Args:
        folder: holds ``pipeline.json``.

    Returns:
        The settings; what the file does not say is as in :class:`Defaults`.

    Raises:
        CheckpointError: the file is missing, damaged or has unknown settings.
    """
    path = Path(folder) / PIPELINE_FILE
    values = _read_manifest(Path(folder)).get("defaults", {})
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: defaults must be an object, not {values!r}")
    return config_from_dict(Defaults, values, path)


def save_parts(
    parts: Parts, folder: str | Path, *, defaults: Defaults | None = None, force: bool = False
) -> Path:
    """Write a pipeline folder; ``pipeline.json`` comes last, so a folder that has one is whole.

    Args:
        parts: each of a class in :data:`KINDS`.
        folder: made if needed.
        defaults: how to run the model.
        force: allow replacing files.

    Returns:
        The folder.

    Raises:
        CheckpointError: a part of another class, which only its author can save.
        OutputExistsError: the folder is not empty and ``force`` is False.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not force:
        raise OutputExistsError(f"{folder} exists; choose another name or ask to overwrite it")
    names = {part_class: kind for kind, part_class in KINDS.items()}
    kinds = {}
    for role in ROLES:
        part = getattr(parts, role)
        if type(part) not in names:
            raise CheckpointError(
                f"the {role} is a {type(part).__name__}, which a pipeline folder cannot name; "
                "save it by its own means and pass it to from_pretrained again"
            )
        kinds[role] = names[type(part)]
    (folder / PIPELINE_FILE).unlink(missing_ok=True)
    for role in ROLES:
        getattr(parts, role).save_pretrained(folder / role, force=force)
    write_manifest(folder, kinds, defaults=defaults, force=force)
    return folder


def write_manifest(
    folder: Path,
    kinds: Mapping[str, str],
    *,
    defaults: Defaults | None = None,
    force: bool = False,
) -> None:
    """Write ``pipeline.json``, after everything else.

    Args:
        folder: of the pipeline.
        kinds: a key of :data:`KINDS` for each of :data:`ROLES`.
        defaults: how to run the model.
        force: allow replacing the file.

    Raises:
        OutputExistsError: the file exists and ``force`` is False.
    """
    value = {
        "format": 1,
        "parts": dict(kinds),
        "defaults": dataclasses.asdict(Defaults() if defaults is None else defaults),
    }
    text = json.dumps(value, indent=2) + "\n"
    write_atomic(
        folder / PIPELINE_FILE, lambda path: path.write_text(text, encoding="utf-8"), force=force
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / PIPELINE_FILE
    manifest = read_json(path)
    if manifest.get("format") != 1:
        raise CheckpointError(
            f"{path} has format {manifest.get('format')!r}, this version of stepaudio reads 1"
        )
    if not isinstance(manifest.get("parts"), dict):
        raise CheckpointError(f"{path} does not name the parts")
    return manifest


def _check_tokens(said: Mapping[str, TokenSpec], one: str, other: str) -> None:
    if said[one] != said[other]:
        raise SpecMismatchError(
            f"the {one} writes {_sizes(said[one])} but the {other} reads {_sizes(said[other])}; "
            f"use a {one} and a {other} that were trained with the same codebooks"
        )


def _sizes(spec: TokenSpec) -> str:
    return f"{spec.linguistic_size} linguistic and {spec.semantic_size} semantic codes"


def _check_mel(written: MelSpec, read: MelSpec) -> None:
    def values(spec: MelSpec) -> dict[str, Any]:
        # No upper limit means half the rate.
        return dataclasses.asdict(spec) | {"fmax": spec.fmax or spec.sample_rate / 2}

    ours, theirs = values(written), values(read)
    wrong = [name for name in ours if ours[name] != theirs[name]]
    if wrong:

        def named(chosen: dict[str, Any]) -> str:
            return ", ".join(f"{name} {chosen[name]}" for name in wrong)

        raise SpecMismatchError(
            f"the flow decoder writes mel with {named(ours)} but the vocoder reads "
            f"{named(theirs)}; use a vocoder trained for the decoder's front end"
        )


def _check_text(parts: Parts) -> None:
    text, lm = parts.text, parts.lm.spec
    fix = "use the text tokenizer the language model was trained with"
    if text.vocab_size != lm.vocab_size:
        raise SpecMismatchError(
            f"the text tokenizer has {text.vocab_size} ids but the language model has "
            f"{lm.vocab_size}; {fix}"
        )
    last = lm.tokens.size - 1
    for k in (0, last):
        found = _token_id(text, f"<audio_{k}>")
        if found != lm.audio_offset + k:
            raise SpecMismatchError(
                f"<audio_{k}> is {found} in the text tokenizer but {lm.audio_offset + k} in the "
                f"language model; {fix}"
            )
    end = _token_id(text, EOT)
    if end not in lm.end_ids:
        raise SpecMismatchError(
            f"{EOT} is {end} in the text tokenizer but the language model ends with "
            f"{', '.join(map(str, lm.end_ids))}; {fix}"
        )


def _token_id(text: TextTokenizer, token: str) -> int | str:
    try:
        return text.token_id(token)
    except KeyError:
        return "missing"
