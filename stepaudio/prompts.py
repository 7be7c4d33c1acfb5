"""How an edit or a voice to clone is put to the language model, word for word as published.

Two layouts exist. ``v2``, the default, belongs to the published chat template: one string,
tokenised as a whole, with a space after ``<|BOT|>``. ``v1`` belongs to the first published code:
every piece is tokenised alone and gets its own beginning-of-sequence id. The words are the same.

A prompt is a system turn, a user turn (called ``human``) and the opening of the assistant's turn,
which the model fills with audio tokens. Audio stands in prompts written out as ``<audio_k>``.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal

import numpy as np
from torch import Tensor

from stepaudio.edits import EDIT_KINDS, REMOVE, Edit
from stepaudio.errors import EditError, PromptError
from stepaudio.interfaces import TextTokenizer
from stepaudio.tokenizers.text import BOS, BOT, EOT

__all__ = [
    "CLONE_SYSTEM",
    "DEFAULT_SPEAKER",
    "EDIT_SYSTEM",
    "Layout",
    "clone_prompt",
    "clone_turns",
    "edit_prompt",
    "edit_turns",
    "encode_clone_prompt",
    "encode_edit_prompt",
    "encode_text_prompt",
    "prompt_phrases",
    "speaker_name_v1",
]

Layout = Literal["v1", "v2"]

EDIT_SYSTEM = (
    "As a highly skilled audio editing and tuning specialist, you excel in interpreting user "
    "instructions and applying precise adjustments to meet their needs. Your expertise spans a "
    "wide range of enhancement capabilities, including but not limited to:\n"
    "# Emotional Enhancement\n"
    "# Speaking Style Transfer\n"
    "# Non-linguistic Adjustments\n"
    "# Audio Tuning & Editing\n"
    "Note: You will receive instructions in natural language and are expected to accurately "
    "interpret and execute the most suitable audio edits and enhancements.\n"
)

# The spaces before two of the line ends are part of the published text.
CLONE_SYSTEM = (
    "Generate audio with the following timbre, prosody and speaking style\n\n"
    "[speaker_start]\n"
    "speaker name: {speaker}\n"
    "speaker prompt text: \n"
    "{prompt_text}\n"
    "speaker audio tokens: \n"
    "{prompt_wav_tokens}\n"
    "[speaker_end]\n"
)

#: The name every voice bears in the v2 layout.
DEFAULT_SPEAKER = "debug"

_INSTRUCTIONS = {
    "emotion": "Make the following audio more {label}. "
    "The text corresponding to the audio is: {text}\n",
    "speed": "Make the following audio more {label}. "
    "The text corresponding to the audio is: {text}\n",
    "style": "Make the following audio more {label} style. "
    "The text corresponding to the audio is: {text}\n",
    "remove emotion": "Remove any emotion in the following audio "
    "and the reference text is: {text}\n",
    "remove style": "Remove any speaking styles in the following audio "
    "and the reference text is: {text}\n",
    "denoise": "Remove any noise from the given audio while preserving the voice content clearly. "
    "Ensure that the speech quality remains intact with minimal distortion, "
    "and eliminate all noise from the audio.\n",
    "trim_silence": "Remove any silent portions from the given audio while preserving the voice "
    "content clearly. Ensure that the speech quality remains intact with minimal distortion, "
    "and eliminate all silence from the audio.\n",
    "paralinguistic": "Add some non-verbal sounds to make the audio more natural, "
    "the new text is : {new_text}\n  The text corresponding to the audio is: {text}\n",
}

# Spellings that become turn marks, audio or bytes; in the user's words they would break the prompt.
_RESERVED = re.compile(r"<\|EOT\|>|<\|BOT\|>|</?s>|<audio_[0-9]+>|<0x[0-9A-F]{2}>")
_AUDIO = re.compile(r"(?:<audio_[0-9]+>)+")


def edit_turns(edit: Edit, audio_tokens_text: str, text: str = "") -> tuple[str, str]:
    """The system turn and the user turn of an edit.

    Args:
        edit: what to do.
        audio_tokens_text: the recording as ``<audio_k>`` tokens.
        text: the words spoken in it; ignored by edits that need none.

    Returns:
        Both turns; the user turn is the instruction, an empty line, the audio and a line end.

    Raises:
        EditError: the edit needs the words and they are missing.
        PromptError: the audio is not a run of audio tokens, or the words hold special tokens.
    """
    text = text.strip()
    if edit.needs_text and not text:
        raise EditError(f"a {edit.kind} edit needs text: the words spoken in the recording")
    _check_words(text, "text")
    _check_words(edit.text, "new text")
    _check_audio(audio_tokens_text)
    instruction = _instruction(edit).format(
        label=edit.published_label, text=text, new_text=edit.text
    )
    return EDIT_SYSTEM, f"{instruction}\n{audio_tokens_text}\n"


def clone_turns(
    text: str, prompt_text: str, audio_tokens_text: str, *, speaker: str = DEFAULT_SPEAKER
) -> tuple[str, str]:
    """The system turn and the user turn of zero-shot speech in a given voice.

    Args:
        text: what to say; may begin with one of :data:`stepaudio.edits.DIALECT_TAGS`.
        prompt_text: the words spoken in the voice's recording; may be empty.
        audio_tokens_text: that recording as ``<audio_k>`` tokens.
        speaker: name of the voice.

    Returns:
        Both turns; the user turn is ``text`` as it is.

    Raises:
        PromptError: nothing to say, no audio, or special tokens among the words.
    """
    if not text.strip():
        raise PromptError("there is no text to speak")
    for words, name in ((text, "text"), (prompt_text, "prompt text"), (speaker, "speaker name")):
        _check_words(words, name)
    _check_audio(audio_tokens_text)
    system = CLONE_SYSTEM.format(
        speaker=speaker, prompt_text=prompt_text, prompt_wav_tokens=audio_tokens_text
    )
    return system, text


def edit_prompt(edit: Edit, audio_tokens_text: str, text: str = "") -> str:
    """The whole prompt of an edit as one string, v2 layout; arguments as :func:`edit_turns`."""
    return _chat(*edit_turns(edit, audio_tokens_text, text))


def clone_prompt(
    text: str, prompt_text: str, audio_tokens_text: str, *, speaker: str = DEFAULT_SPEAKER
) -> str:
    """The whole prompt of a clone as one string, v2 layout; arguments as :func:`clone_turns`."""
    return _chat(*clone_turns(text, prompt_text, audio_tokens_text, speaker=speaker))


def encode_edit_prompt(
    tokenizer: TextTokenizer,
    edit: Edit,
    audio_tokens_text: str,
    text: str = "",
    *,
    layout: Layout = "v2",
) -> list[int]:
    """Ids of an edit prompt, ready for the language model.

    Args:
        tokenizer: the model's text tokenizer.
        edit: what to do.
        audio_tokens_text: the recording as ``<audio_k>`` tokens.
        text: the words spoken in it.
        layout: ``"v2"`` (current published layout) or ``"v1"`` (first published code).

    Returns:
        The ids, ending with the opening of the assistant's turn.

    Raises:
        EditError: see :func:`edit_turns`.
        PromptError: see :func:`edit_turns`, or an unknown layout.
    """
    system, user = edit_turns(edit, audio_tokens_text, text)
    if _is_v2(layout):
        return tokenizer.encode(_chat(system, user))
    return _encode_v1(tokenizer, system, _with_bos(tokenizer, user))


def encode_clone_prompt(
    tokenizer: TextTokenizer,
    text: str,
    prompt_text: str,
    audio_tokens_text: str,
    *,
    speaker: str = DEFAULT_SPEAKER,
    layout: Layout = "v2",
) -> list[int]:
    """Ids of a clone prompt, ready for the language model.

    Args:
        tokenizer: the model's text tokenizer.
        text: what to say.
        prompt_text: the words spoken in the voice's recording.
        audio_tokens_text: that recording as ``<audio_k>`` tokens.
        speaker: name of the voice; the v1 code used :func:`speaker_name_v1`.
        layout: ``"v2"`` (current published layout) or ``"v1"`` (first published code).

    Returns:
        The ids, ending with the opening of the assistant's turn.

    Raises:
        PromptError: see :func:`clone_turns`, or an unknown layout.
    """
    system, user = clone_turns(text, prompt_text, audio_tokens_text, speaker=speaker)
    if _is_v2(layout):
        return tokenizer.encode(_chat(system, user))
    # The v1 code takes the target words as they stand after a line end: no leading space.
    words = tokenizer.encode("\n" + user)[len(tokenizer.encode("\n")) :]
    return _encode_v1(tokenizer, system, words)


def encode_text_prompt(tokenizer: TextTokenizer, question: str) -> list[int]:
    """Ids of a prompt without audio, in the v2 layout and without a system turn.

    Args:
        tokenizer: the model's text tokenizer.
        question: the user's turn.

    Returns:
        The ids, ending with the opening of the assistant's turn.

    Raises:
        PromptError: no question, or special tokens in it.
    """
    if not question.strip():
        raise PromptError("there is no question to answer")
    _check_words(question, "question")
    return tokenizer.encode(f"{BOS}{BOT} human\n{question}{EOT}{BOT} assistant\n")


def prompt_phrases() -> list[str]:
    """The fixed stretches of every prompt, labels filled in, for a vocabulary of one's own.

    Given as ``phrases`` to :func:`stepaudio.tokenizers.text_training.train_text_tokenizer`, they
    shorten an instruction to one id before the words it speaks of.

    Returns:
        The stretches without repetition, none ending with a space.
    """
    edits = [Edit(kind, label) for kind, row in EDIT_KINDS.items() for label in row.labels]
    edits += [Edit.speed("faster", strength=2), Edit.speed("slower", strength=2)]
    edits += [Edit.denoise(), Edit.trim_silence(), Edit.paralinguistic("[Laughter]")]
    gap = "\0"
    texts = [
        EDIT_SYSTEM,
        CLONE_SYSTEM.format(speaker=DEFAULT_SPEAKER, prompt_text=gap, prompt_wav_tokens=gap),
        *(
            _instruction(edit).format(label=edit.published_label, text=gap, new_text=gap)
            for edit in edits
        ),
    ]
    stretches = [stretch.rstrip(" ") for text in texts for stretch in text.split(gap)]
    return list(dict.fromkeys(stretch for stretch in stretches if stretch.strip()))


def speaker_name_v1(prompt_text: str, samples: Tensor) -> str:
    """The name the v1 code gives a voice: a hash of its transcript and its outer samples.

    Args:
        prompt_text: the words spoken in the recording.
        samples: the recording as loaded, of any shape; the first and last 1000 values count.

    Returns:
        ``"clone_"`` and 16 hexadecimal digits.
    """
    flat = samples.detach().cpu().numpy().astype(np.float32).reshape(-1)
    if flat.size > 2000:
        flat = np.concatenate([flat[:1000], flat[-1000:]])
    digest = hashlib.sha256(prompt_text.encode("utf-8") + flat.astype("<f4").tobytes())
    return f"clone_{digest.hexdigest()[:16]}"


def _instruction(edit: Edit) -> str:
    return _INSTRUCTIONS[f"remove {edit.kind}" if edit.label == REMOVE else edit.kind]


def _chat(system: str, user: str) -> str:
    return f"{BOS}{BOT} system\n{system}{EOT}{BOT} human\n{user}{EOT}{BOT} assistant\n"


def _encode_v1(tokenizer: TextTokenizer, system: str, user_ids: list[int]) -> list[int]:
    turn, end = tokenizer.token_id(BOT), tokenizer.token_id(EOT)
    return [
        tokenizer.token_id(BOS),
        turn,
        *_with_bos(tokenizer, "system\n" + system),
        end,
        turn,
        *_with_bos(tokenizer, "human\n"),
        *user_ids,
        end,
        turn,
        *_with_bos(tokenizer, "assistant\n"),
    ]


def _with_bos(tokenizer: TextTokenizer, text: str) -> list[int]:
    return [tokenizer.token_id(BOS), *tokenizer.encode(text)]


def _is_v2(layout: str) -> bool:
    if layout not in ("v1", "v2"):
        raise PromptError(f"unknown prompt layout {layout!r}; choose 'v2' or 'v1'")
    return layout == "v2"


def _check_words(words: str, name: str) -> None:
    found = _RESERVED.search(words)
    if found:
        raise PromptError(
            f"the {name} holds {found.group()!r}, which has a meaning of its own in a prompt; "
            "remove it"
        )


def _check_audio(audio_tokens_text: str) -> None:
    if not _AUDIO.fullmatch(audio_tokens_text):
        raise PromptError(
            "the recording must be given as a run of <audio_k> tokens, "
            f"got {audio_tokens_text[:40]!r}"
        )
