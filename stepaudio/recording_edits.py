"""Edits that need no new speech, made on the recording itself.

Less noise, shorter pauses, another tempo and another manner of speaking lose no word that way,
while a small language model that writes everything anew does. The published system writes
everything; which model does what is a matter of :class:`stepaudio.parts.Defaults`.
"""

from __future__ import annotations

from collections.abc import Mapping

from stepaudio.audio import Audio
from stepaudio.edits import EDIT_KINDS, Edit, KindName
from stepaudio.manner import Manner, change_manner
from stepaudio.noise import suppress_noise
from stepaudio.pauses import cut_pauses
from stepaudio.tempo import change_tempo

__all__ = ["MANNER_EDITS", "RECORDING_EDITS", "SPEED_LABELS", "edit_recording"]

#: Kinds of edits that are another manner of speaking: as far as there is a rule for their label.
MANNER_EDITS: tuple[KindName, ...] = ("emotion", "style")
#: Kinds of edits that need no new speech.
RECORDING_EDITS = ("denoise", "speed", "trim_silence", *MANNER_EDITS)
#: The four speeds, as the published prompts spell them.
SPEED_LABELS = tuple(
    Edit.speed(label, strength=strength).published_label
    for strength in (1, 2)
    for label in EDIT_KINDS["speed"].labels
)


def edit_recording(
    audio: Audio,
    edit: Edit,
    *,
    lengths: Mapping[str, float],
    manners: Mapping[str, Manner],
    seed: int,
) -> Audio:
    """Change a recording without a model, once.

    Args:
        audio: of any rate.
        edit: of one of :data:`RECORDING_EDITS`.
        lengths: for each of :data:`SPEED_LABELS`, how many times as long the result is.
        manners: for each label of an emotion or a style, what changes.
        seed: of the noise in a breathy or whispered voice.

    Returns:
        The recording, changed.

    Raises:
        AudioError: a length beyond 1/4 to 4 times.
        KeyError: no length or manner for the label.
        ValueError: an edit of another kind.
    """
    match edit.kind:
        case "denoise":
            return suppress_noise(audio)
        case "speed":
            return change_tempo(audio, 1 / lengths[edit.published_label])
        case "trim_silence":
            return cut_pauses(audio)
        case "emotion" | "style":
            return change_manner(audio, manners[edit.published_label], seed=seed)
    raise ValueError(f"{edit.kind!r} is not one of {', '.join(RECORDING_EDITS)}")
