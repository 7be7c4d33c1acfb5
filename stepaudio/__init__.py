"""Edit recorded speech with an implementation of Step-Audio-EditX (arXiv 2511.03601)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepaudio.audio import Audio as Audio
    from stepaudio.edits import Edit as Edit
    from stepaudio.errors import AudioError as AudioError
    from stepaudio.errors import CancelledError as CancelledError
    from stepaudio.errors import CheckpointError as CheckpointError
    from stepaudio.errors import DeviceError as DeviceError
    from stepaudio.errors import EditError as EditError
    from stepaudio.errors import GenerationError as GenerationError
    from stepaudio.errors import MissingExtraError as MissingExtraError
    from stepaudio.errors import OutputExistsError as OutputExistsError
    from stepaudio.errors import PromptError as PromptError
    from stepaudio.errors import SafetyError as SafetyError
    from stepaudio.errors import SpecMismatchError as SpecMismatchError
    from stepaudio.errors import StepAudioError as StepAudioError
    from stepaudio.errors import TokenError as TokenError
    from stepaudio.parts import Parts as Parts
    from stepaudio.pipeline import EditPipeline as EditPipeline
    from stepaudio.pipeline_speech import TTSPipeline as TTSPipeline
    from stepaudio.result import EditResult as EditResult
    from stepaudio.safety.consent import ConsentRecord as ConsentRecord
    from stepaudio.safety.policy import SafetyPolicy as SafetyPolicy
    from stepaudio.types import SamplingParams as SamplingParams
    from stepaudio.types import SpeechTokens as SpeechTokens
    from stepaudio.types import VoicePrompt as VoicePrompt
    from stepaudio.voice import load_voice as load_voice
    from stepaudio.voice import save_voice as save_voice

__version__ = "0.1.0"

# Loaded on first use: importing the package costs nothing, whatever of it is needed.
_HOME = {
    "Audio": "audio",
    "AudioError": "errors",
    "CancelledError": "errors",
    "CheckpointError": "errors",
    "ConsentRecord": "safety.consent",
    "DeviceError": "errors",
    "Edit": "edits",
    "EditError": "errors",
    "EditPipeline": "pipeline",
    "EditResult": "result",
    "GenerationError": "errors",
    "MissingExtraError": "errors",
    "OutputExistsError": "errors",
    "Parts": "parts",
    "PromptError": "errors",
    "SafetyError": "errors",
    "SafetyPolicy": "safety.policy",
    "SamplingParams": "types",
    "SpecMismatchError": "errors",
    "SpeechTokens": "types",
    "StepAudioError": "errors",
    "TTSPipeline": "pipeline_speech",
    "TokenError": "errors",
    "VoicePrompt": "types",
    "load_voice": "voice",
    "save_voice": "voice",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    """Find a public name in its module."""
    if name not in _HOME:
        raise AttributeError(f"module 'stepaudio' has no attribute {name!r}")
    return getattr(import_module(f"stepaudio.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
