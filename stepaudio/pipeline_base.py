"""What every pipeline shares: six parts, loading and saving them, tokens, voices, resynthesis."""

from __future__ import annotations

import functools
import os
from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from typing_extensions import Self

from stepaudio import __version__
from stepaudio.audio import Audio, AudioSource
from stepaudio.cutting import VOICE_SECONDS, WHOLE_SECONDS, cut_at_pauses, voice_stretch
from stepaudio.devices import resolve_device, resolve_dtype, resolve_flow_dtype
from stepaudio.errors import AudioError, ConfigError, PromptError
from stepaudio.hub import Pretrained
from stepaudio.interfaces import (
    FlowDecoder,
    SpeakerEncoder,
    SpeechLM,
    TextTokenizer,
    Tokenizer,
    Vocoder,
)
from stepaudio.lm.quantize import BITS
from stepaudio.locate import locate, short_name
from stepaudio.offload import working
from stepaudio.parts import Defaults, Parts, check_fit, load_defaults, load_parts, save_parts
from stepaudio.result import Cancel, EditResult, Progress, Run
from stepaudio.safety.consent import ConsentRecord, Purpose
from stepaudio.safety.manifest import Action, Manifest, edit_values
from stepaudio.safety.policy import Permit, PolicyName, SafetyPolicy, permit
from stepaudio.safety.provenance import Provenance, history_of
from stepaudio.safety.watermark import MarkNote, Watermarker, check_watermarker, payload_of
from stepaudio.safety.watermark_spread import DEFAULT_WATERMARKER
from stepaudio.safety.weights import sampled_digest
from stepaudio.seeds import choose_seeds
from stepaudio.streaming import CodeStream, Spoken, speak_codes
from stepaudio.synthesis import check_duration, check_settings, render, render_parts
from stepaudio.tokenizers.interleave import truncate
from stepaudio.types import SpeechTokens, VoicePrompt
from stepaudio.voice import check_voice, embed_voice, make_voice

__all__ = ["Pipeline"]


class Pipeline:
    """Six parts and the ways between them that need no language model.

    Args:
        parts: one object per stage, checked for fit here. Modules among them are put into
            evaluation mode.
        defaults: how to run unless a call says otherwise.
        name: of the model, for the provenance of what it makes.
        watermarker: marks all sound that is made. None makes unmarked sound, which its result
            says; without a word there is always a mark.

    Raises:
        SpecMismatchError: two parts do not fit each other.
        WatermarkError: the watermarker cannot work.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        defaults: Defaults | None = None,
        name: str = "unnamed",
        watermarker: Watermarker | None = DEFAULT_WATERMARKER,
    ) -> None:
        check_fit(parts)
        check_watermarker(watermarker, parts.vocoder.spec.sample_rate)
        for part in vars(parts).values():
            if isinstance(part, nn.Module):
                part.eval()
        self.parts = parts
        self.defaults = Defaults() if defaults is None else defaults
        self.name = name
        self.watermarker = watermarker

    @functools.cached_property
    def weights(self) -> str:
        """Digest of the weights of all parts; see :func:`stepaudio.safety.weights`."""
        return sampled_digest(*vars(self.parts).values())

    @functools.cached_property
    def encoder(self) -> str:
        """Digest of the speaker encoder, which the fingerprints of consent records name."""
        return sampled_digest(self.parts.speaker)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        flow_dtype: str | torch.dtype = "float32",
        quantize: Literal["int8", "int4"] | None = None,
        offload: Literal["stage"] | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        tokenizer: Tokenizer | None = None,
        text: TextTokenizer | None = None,
        lm: SpeechLM | None = None,
        flow: FlowDecoder | None = None,
        vocoder: Vocoder | None = None,
        speaker: SpeakerEncoder | None = None,
        watermarker: Watermarker | None = DEFAULT_WATERMARKER,
    ) -> Self:
        """Load a model.

        A part passed as an object takes the place of the stored one and stays on its device.

        Args:
            name: a folder or a hub id; None is the embedded model. The published model is
                converted on first use, into ``$STEPAUDIO_CACHE`` or ``~/.cache/stepaudio``.
            device: where to run; ``"auto"`` takes an accelerator if there is one.
            dtype: of the language model; ``"auto"`` is bfloat16 on an accelerator that has it.
            flow_dtype: of the flow decoder, ``"float32"`` as published or ``"bfloat16"``, which is
                much faster where the device multiplies matrices in it; see ``docs/speed.md``. The
                other parts run in float32.
            quantize: round the weights of the language model; see :mod:`stepaudio.lm.quantize`.
            offload: ``"stage"`` has in memory only the part that works, reading it again each
                time; see :mod:`stepaudio.offload`.
            revision: branch, tag or commit of a hub id.
            local_files_only: do not use the network.
            tokenizer: recordings to codes.
            text: prompts to ids.
            lm: ids to ids. It shall be heard, so it writes emotions and styles even where the model
                makes them on the recording itself (``Defaults.manners``).
            flow: codes to mel.
            vocoder: mel to sound.
            speaker: recordings to a description of the voice.
            watermarker: marks all sound that is made; None makes unmarked sound.

        Returns:
            The pipeline.

        Raises:
            CheckpointError: no such model, or a damaged one.
            ConfigError: another ``quantize`` or ``offload`` than those above.
            DeviceError: no such device or floating type.
            SpecMismatchError: a part passed in does not fit the others.
            WatermarkError: the watermarker cannot work.
        """
        _check_choice("quantize", quantize, *BITS)
        _check_choice("offload", offload, "stage")
        folder = locate(name, revision=revision, local_files_only=local_files_only)
        where = resolve_device(device)
        parts = load_parts(
            folder,
            device=where,
            dtype=resolve_dtype(dtype, where),
            flow_dtype=resolve_flow_dtype(flow_dtype),
            bits=None if quantize is None else BITS[quantize],
            offload=offload == "stage",
            tokenizer=tokenizer,
            text=text,
            lm=lm,
            flow=flow,
            vocoder=vocoder,
            speaker=speaker,
        )
        defaults = load_defaults(folder)
        pipeline = cls(
            parts,
            defaults=defaults if lm is None else replace(defaults, manners={}),
            name=short_name(name),
            watermarker=watermarker,
        )
        if offload is None:
            # Now, because the first use of rounded weights lays them out for a kernel.
            _ = pipeline.weights
        return pipeline

    def unload(self) -> None:
        """Free the weights of all parts that were read from a folder.

        What needs a part reads it again, so the pipeline can still be used. Weights that were
        changed in memory are lost; save them first.
        """
        for part in vars(self.parts).values():
            if isinstance(part, Pretrained):
                part.unload()

    def save_pretrained(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write a pipeline folder, which :meth:`from_pretrained` reads.

        Args:
            folder: made if needed.
            force: allow replacing files.

        Returns:
            The folder.

        Raises:
            CheckpointError: a part of a class of your own, which must be saved by its own means.
            OutputExistsError: the folder is not empty and ``force`` is False.
        """
        return save_parts(self.parts, folder, defaults=self.defaults, force=force)

    @torch.no_grad()
    def tokenize(self, audio: AudioSource) -> SpeechTokens:
        """Codes of a recording.

        Args:
            audio: any source of :meth:`Audio.load`.

        Returns:
            Both streams, cut to whole units: a tokenizer may give more codes at the end of either
            than fill one, which pipelines drop.

        Raises:
            AudioError: the recording cannot be read or is too short.
        """
        with working(self.parts.tokenizer):
            return self._codes([Audio.load(audio)])[0]

    @torch.no_grad()
    def voice_prompt(self, audio: AudioSource, text: str = "") -> VoicePrompt:
        """A voice to use again; see :func:`stepaudio.voice.save_voice`.

        Args:
            audio: a recording of the voice. Of one longer than
                :data:`stepaudio.cutting.WHOLE_SECONDS`, a stretch is taken; see
                :func:`stepaudio.cutting.voice_stretch`.
            text: the words spoken in it, if known.

        Returns:
            The voice.

        Raises:
            AudioError: the recording cannot be read, is silent or too short.
            PromptError: words of a recording of which only a stretch is taken.
        """
        recording = self._load(audio)
        stretch = voice_stretch(recording)
        if text and stretch is not recording:
            raise PromptError(
                f"the recording of the voice lasts {recording.seconds:.1f} s, of which "
                f"{VOICE_SECONDS:g} s are used, so its words do not fit; give at most "
                f"{WHOLE_SECONDS:g} s with their words, or leave the words out"
            )
        return self._voice(stretch, self.tokenize(stretch), text)

    @torch.no_grad()
    def resynthesize(
        self,
        audio: AudioSource,
        *,
        voice: VoicePrompt | None = None,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        consent: ConsentRecord | None = None,
        policy: SafetyPolicy | PolicyName | None = None,
        cancel: Cancel | None = None,
        progress: Progress | None = None,
    ) -> EditResult:
        """Recording to codes and back, without the language model: what the codes keep.

        A recording longer than :data:`stepaudio.cutting.WHOLE_SECONDS` is tokenized as a whole
        and decoded in parts, cut at its pauses.

        Args:
            audio: any source of :meth:`Audio.load`.
            voice: to speak in, which needs that speaker's consent; None is the recording's own.
                Each part of a long one is then prompted with its own sound, and all with the
                speaker of :meth:`voice_prompt`.
            seed: repeats a result; None draws one.
            generator: source of the seed if none is given.
            steps: solver steps of the flow.
            guidance: guidance rate of the flow.
            consent: of the speaker.
            policy: what needs consent; None is the policy ``"standard"``.
            cancel: asked between stages and parts; True stops.
            progress: told the stage, the steps done and the most steps it takes.

        Returns:
            The result.

        Raises:
            AudioError: the recording cannot be read, is silent or too short.
            EditError: settings that make no sense.
            PromptError: the recording is longer than :data:`~stepaudio.synthesis.LONGEST_SECONDS`.
            SafetyError: the policy refuses; see :func:`stepaudio.safety.policy.permit`.
            CancelledError: ``cancel`` returned True.
        """
        check_settings(None, steps, guidance)
        recording = self._load(audio)
        check_duration(recording, "the recording", "resynthesized")
        chosen = choose_seeds(seed, generator, 1)
        run = Run(cancel, progress)
        voice = None if voice is None else self._checked(voice)
        allowed = self._permit(policy, consent, recording, voice)
        with run.stage("tokenize", 1):
            tokens = self.tokenize(recording)
        with run.stage("voice", 1), working(self.parts.speaker):
            parts = cut_at_pauses(tokens, recording)
            own = voice is None
            voice = self._voice(recording, tokens) if voice is None else voice
            voices = [voice] * len(parts)
            if own and len(parts) > 1:
                # The speaker is that of the whole: a part may be one long pause.
                voices = [
                    replace(self._voice(part.audio, part.tokens), speaker=voice.speaker)
                    for part in parts
                ]
        codes = [part.tokens for part in parts]
        if len(parts) == 1:
            sound = self._render(codes, voices, chosen, run, steps, guidance)[0]
        else:
            sound = self._render_parts(codes, voices, chosen[0], run, steps, guidance)
        result = EditResult(
            audio=sound,
            tokens=tokens,
            text="",
            edits=(),
            stop_reason="end",
            seed=chosen[0],
            timings=run.share(1),
            length_ratio=1.0,
            watermark=self._note(chosen[0]),
        )
        return self._traced(result, "resynthesize", allowed, recording)

    def _codes(self, recordings: Sequence[Audio]) -> list[SpeechTokens]:
        """Codes of recordings in whole units, whatever a tokenizer leaves at their ends."""
        return [truncate(tokens) for tokens in self.parts.tokenizer.encode(recordings)]

    def _load(self, source: AudioSource) -> Audio:
        """A recording with something to hear in it, for at least one unit of codes."""
        recording = Audio.load(source).require_sound()
        shortest = float(self.parts.tokenizer.spec.tokens.unit_seconds)
        if recording.seconds < shortest:
            # Tokenizers that pad would make codes of it, but hardly any of them of sound.
            raise AudioError(
                f"the recording lasts {recording.seconds:.3f} s, which is too short; give at least "
                f"{shortest:g} s of sound, the length of one unit of codes"
            )
        return recording

    def _voice(self, audio: Audio, tokens: SpeechTokens, text: str = "") -> VoicePrompt:
        """The voice of a recording and its codes, or of a stretch of it with codes of its own."""
        stretch = voice_stretch(audio)
        if stretch is not audio:
            audio, tokens = stretch, self.tokenize(stretch)
        parts = self.parts
        return make_voice(audio, tokens, parts.speaker, parts.flow.spec.mel, transcript=text)

    def _checked(self, voice: VoicePrompt) -> VoicePrompt:
        check_voice(voice, self.parts.flow.spec)
        return voice

    def _permit(
        self,
        policy: SafetyPolicy | PolicyName | None,
        consent: ConsentRecord | None,
        recording: Audio | None,
        voice: VoicePrompt | None,
    ) -> Permit:
        """Ask the policy; to speak in a voice other than the recording's own is to clone it."""
        embedding = None if voice is None else voice.speaker
        if consent is not None and embedding is None and recording is not None:
            embedding = embed_voice(voice_stretch(recording), self.parts.speaker)
        purpose: Purpose = "edit" if voice is None else "clone"
        return permit(SafetyPolicy.of(policy), purpose, consent, embedding, self.encoder)

    def _traced(
        self,
        result: EditResult,
        action: Action,
        allowed: Permit,
        recording: Audio | None,
        history: Provenance | None = None,
    ) -> EditResult:
        """The result with its provenance: that of what went in, and one more step."""
        if history is None:
            history = Provenance(()) if recording is None else history_of(recording)
        parent = None if recording is None else recording.digest()
        manifest = Manifest(
            action=action,
            sound=result.audio.digest(),
            # Of a file that was stored with loss, the sound that went into it.
            parent=history.manifest.sound if history.chain else parent,
            edits=tuple(edit_values(edit) for edit in result.edits),
            span=result.span,
            model=self.name,
            weights=self.weights,
            seed=result.seed,
            policy=allowed.policy,
            consent=allowed.consent,
            watermark=None if result.watermark is None else str(result.watermark),
            software=f"stepaudio {__version__}",
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        return replace(result, provenance=history.then(manifest))

    def _traced_chunks(
        self,
        chunks: Generator[Audio, None, EditResult],
        action: Action,
        allowed: Permit,
        recording: Audio | None,
    ) -> Generator[Audio, None, EditResult]:
        """The same chunks; the result has its provenance."""
        result = yield from chunks
        return self._traced(result, action, allowed, recording)

    def _note(self, seed: int) -> MarkNote | None:
        """What the result of a seed says of its mark."""
        marker = self.watermarker
        if marker is None:
            return None
        return MarkNote(marker.name, payload_of(seed, marker.payload_bits))

    def _render(
        self,
        tokens: Sequence[SpeechTokens],
        voices: Sequence[VoicePrompt],
        seeds: Sequence[int],
        run: Run,
        steps: int | None,
        guidance: float | None,
    ) -> list[Audio]:
        return render(
            self.parts.flow,
            self.parts.vocoder,
            tokens,
            voices,
            seeds,
            run,
            watermarker=self.watermarker,
            steps=self.defaults.steps if steps is None else steps,
            guidance=self.defaults.guidance if guidance is None else guidance,
        )

    def _render_parts(
        self,
        parts: Sequence[SpeechTokens],
        voices: Sequence[VoicePrompt],
        seed: int,
        run: Run,
        steps: int | None,
        guidance: float | None,
        pauses: Sequence[float] | None = None,
    ) -> Audio:
        return render_parts(
            self.parts.flow,
            self.parts.vocoder,
            parts,
            voices,
            seed,
            run,
            watermarker=self.watermarker,
            steps=self.defaults.steps if steps is None else steps,
            guidance=self.defaults.guidance if guidance is None else guidance,
            pauses=pauses,
        )

    def _speak(
        self,
        codes: Sequence[CodeStream],
        voice: VoicePrompt,
        seed: int,
        run: Run,
        steps: int | None,
        guidance: float | None,
        pauses: Sequence[float] | None = None,
    ) -> Generator[Audio, None, Spoken]:
        """Write and speak at the same time."""
        return speak_codes(
            codes,
            self.parts.flow,
            self.parts.vocoder,
            voice,
            seed,
            run,
            watermarker=self.watermarker,
            steps=self.defaults.steps if steps is None else steps,
            guidance=self.defaults.guidance if guidance is None else guidance,
            pauses=pauses,
        )


def _check_choice(setting: str, value: object, *allowed: str) -> None:
    if value not in (None, *allowed):
        choices = " or ".join(map(repr, allowed))
        raise ConfigError(f"{setting} is {value!r} but must be {choices}, or None")
