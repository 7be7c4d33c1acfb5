"""Prompt strings: hashes of the fixed texts and every instruction word for word."""

from __future__ import annotations

import hashlib
import re

import pytest
import torch

from stepaudio.edits import Edit
from stepaudio.errors import EditError, PromptError
from stepaudio.prompts import (
    CLONE_SYSTEM,
    EDIT_SYSTEM,
    clone_prompt,
    clone_turns,
    edit_prompt,
    edit_turns,
    encode_clone_prompt,
    encode_edit_prompt,
    prompt_phrases,
    speaker_name_v1,
)

AUDIO = "<audio_1><audio_1030>"
IS = "The text corresponding to the audio is: Hi.\n"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_system_prompts_are_verbatim() -> None:
    assert len(EDIT_SYSTEM) == 509
    assert _sha256(EDIT_SYSTEM) == (
        "a0d0158175cfdb236a9815fa9a62fc715126fc74e34ca3dc534d20fe2896ef75"
    )
    assert len(CLONE_SYSTEM) == 203
    assert _sha256(CLONE_SYSTEM) == (
        "ad1cc8aba22d1570a8a815e39c28950137c577d15c5af8b7c99ba9a843e1dcef"
    )


@pytest.mark.parametrize(
    ("edit", "instruction"),
    [
        (Edit.emotion("happy"), f"Make the following audio more happy. {IS}"),
        (Edit.emotion("happy", strength=2), f"Make the following audio more happy. {IS}"),
        (Edit.speed("faster"), f"Make the following audio more faster. {IS}"),
        (Edit.speed("slower", strength=2), f"Make the following audio more more slower. {IS}"),
        (Edit.style("act_coy"), f"Make the following audio more act_coy style. {IS}"),
        (
            Edit.remove("emotion"),
            "Remove any emotion in the following audio and the reference text is: Hi.\n",
        ),
        (
            Edit.remove("style"),
            "Remove any speaking styles in the following audio and the reference text is: Hi.\n",
        ),
        (
            Edit.denoise(),
            "Remove any noise from the given audio while preserving the voice content clearly. "
            "Ensure that the speech quality remains intact with minimal distortion, and eliminate "
            "all noise from the audio.\n",
        ),
        (
            Edit.trim_silence(),
            "Remove any silent portions from the given audio while preserving the voice content "
            "clearly. Ensure that the speech quality remains intact with minimal distortion, and "
            "eliminate all silence from the audio.\n",
        ),
        (
            Edit.paralinguistic("Hi [Sigh]."),
            "Add some non-verbal sounds to make the audio more natural, the new text is : "
            f"Hi [Sigh].\n  {IS}",
        ),
    ],
    ids=lambda value: f"{value.kind}-{value.label}" if isinstance(value, Edit) else "",
)
def test_instructions_are_verbatim(edit: Edit, instruction: str) -> None:
    assert edit_turns(edit, AUDIO, "  Hi.\n") == (EDIT_SYSTEM, f"{instruction}\n{AUDIO}\n")


def test_edit_prompt_as_a_string() -> None:
    _, user = edit_turns(Edit.denoise(), AUDIO)
    assert edit_prompt(Edit.denoise(), AUDIO) == (
        f"<s><|BOT|> system\n{EDIT_SYSTEM}<|EOT|><|BOT|> human\n{user}<|EOT|><|BOT|> assistant\n"
    )


def test_clone_prompt_as_a_string() -> None:
    system, user = clone_turns("[Korean]Bye {you}.", "Hi {there}.", AUDIO, speaker="me")
    assert "speaker name: me\nspeaker prompt text: \nHi {there}.\n" in system
    assert f"speaker audio tokens: \n{AUDIO}\n[speaker_end]\n" in system
    assert user == "[Korean]Bye {you}."
    text = clone_prompt("Bye.", "", AUDIO)
    assert "speaker name: debug\nspeaker prompt text: \n\nspeaker" in text
    assert text.endswith("<|EOT|><|BOT|> human\nBye.<|EOT|><|BOT|> assistant\n")


class Words:
    """A toy tokenizer: special tokens, words and line ends, numbered as they come."""

    def __init__(self) -> None:
        self.words = ["<unk>", "<s>", "</s>", "<|EOT|>", "<|BOT|>"]
        self.seen: list[str] = []

    @property
    def vocab_size(self) -> int:
        return 1000

    def encode(self, text: str) -> list[int]:
        self.seen.append(text)
        parts = re.findall(r"<[^<>]+>|\n|[^\s<>]+", text)
        self.words += [part for part in dict.fromkeys(parts) if part not in self.words]
        return [self.words.index(part) for part in parts]

    def decode(self, ids: list[int]) -> str:
        return " ".join(self.words[number] for number in ids)

    def token_id(self, token: str) -> int:
        return self.words.index(token)


def test_v2_is_tokenised_as_one_string() -> None:
    tokenizer = Words()
    encode_edit_prompt(tokenizer, Edit.denoise(), AUDIO)
    encode_clone_prompt(tokenizer, "Bye.", "Hi.", AUDIO)
    assert tokenizer.seen == [
        edit_prompt(Edit.denoise(), AUDIO),
        clone_prompt("Bye.", "Hi.", AUDIO),
    ]


def test_v1_is_tokenised_in_pieces() -> None:
    tokenizer = Words()
    ids = encode_edit_prompt(tokenizer, Edit.denoise(), AUDIO, layout="v1")
    assert tokenizer.decode(ids[:4]) == "<s> <|BOT|> <s> system"
    assert "<|EOT|> <|BOT|> <s> human \n <s> Remove" in tokenizer.decode(ids)
    assert tokenizer.decode(ids[-5:]) == "<|EOT|> <|BOT|> <s> assistant \n"
    ids = encode_clone_prompt(tokenizer, "Bye.", "Hi.", AUDIO, layout="v1")
    assert tokenizer.decode(ids).endswith(
        "<|EOT|> <|BOT|> <s> human \n Bye. <|EOT|> <|BOT|> <s> assistant \n"
    )


def test_missing_text() -> None:
    with pytest.raises(EditError, match="emotion edit needs text"):
        edit_prompt(Edit.emotion("happy"), AUDIO, "  ")
    with pytest.raises(PromptError, match="no text to speak"):
        clone_prompt(" ", "Hi.", AUDIO)


@pytest.mark.parametrize("word", ["<|EOT|>", "<|BOT|>", "<s>", "</s>", "<audio_7>", "<0x0A>"])
def test_words_cannot_break_the_prompt(word: str) -> None:
    with pytest.raises(PromptError, match=re.escape(word)):
        edit_prompt(Edit.emotion("happy"), AUDIO, f"Hi {word}")
    with pytest.raises(PromptError, match=re.escape(word)):
        edit_prompt(Edit.paralinguistic(f"Hi [Sigh] {word}"), AUDIO, "Hi")
    for arguments in ((f"a{word}", "b"), ("a", f"b{word}")):
        with pytest.raises(PromptError, match=re.escape(word)):
            clone_prompt(*arguments, AUDIO)


@pytest.mark.parametrize("audio", ["", "noise", "<audio_1> <audio_2>", "<audio_x>", "<audio_1>\n"])
def test_audio_must_be_audio_tokens(audio: str) -> None:
    with pytest.raises(PromptError, match="audio_k"):
        edit_prompt(Edit.denoise(), audio)


def test_unknown_layout() -> None:
    with pytest.raises(PromptError, match="'v3'"):
        encode_edit_prompt(Words(), Edit.denoise(), AUDIO, layout="v3")  # type: ignore[arg-type]


def test_speaker_name_hashes_both_ends() -> None:
    samples = torch.linspace(-1, 1, 3000)
    ends = torch.cat([samples[:1000], samples[-1000:]])
    assert speaker_name_v1("Hi.", samples) == speaker_name_v1("Hi.", ends)
    assert speaker_name_v1("Hi.", samples.reshape(2, 1500)) == speaker_name_v1("Hi.", samples)
    assert speaker_name_v1("Hi!", samples) != speaker_name_v1("Hi.", samples)
    raw = b"Hi." + ends.numpy().tobytes()
    assert speaker_name_v1("Hi.", samples) == f"clone_{hashlib.sha256(raw).hexdigest()[:16]}"


def test_phrases_are_the_fixed_part_of_every_prompt() -> None:
    phrases = prompt_phrases()
    assert EDIT_SYSTEM in phrases
    assert "Make the following audio more more slower. " + IS.removesuffix(" Hi.\n") in phrases
    assert len(set(phrases)) == len(phrases)
    assert not any(phrase.endswith(" ") or not phrase.strip() for phrase in phrases)
    # Nothing but the words, the audio, the turns and line ends is left of a prompt.
    edit = Edit.paralinguistic("Hi [Sigh].")
    for text in (edit_prompt(edit, AUDIO, "Hi."), clone_prompt("Bye.", "Hi.", AUDIO)):
        for phrase in sorted(phrases, key=len, reverse=True):
            text = text.replace(phrase, "|")
        left = re.sub(r"<[^>]*[>]+", "", text)
        assert set(re.findall(r"[\w\[\].]+", left)) <= {
            *("system", "human", "assistant", "Hi", "Hi.", "[Sigh].", "Bye.")
        }
