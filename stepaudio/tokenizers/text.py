"""Text to ids and back: a byte-fallback unigram vocabulary that also names every audio code.

Special tokens, and ``<audio_k>`` for every audio code, are matched literally before the unigram
model sees the text between them, so a whole chat with its audio is one string. Only the first
stretch of text of a string gets a leading space (``▁``), and only if it does not begin with one;
text right after a special token gets none. This is how the published system tokenises its prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from typing_extensions import Self

from stepaudio.errors import CheckpointError, PromptError
from stepaudio.hub import write_atomic
from stepaudio.tokenizers.sentencepiece import PieceKind, read_sentencepiece

__all__ = ["BOS", "BOT", "EOS", "EOT", "TOKENIZER_FILE", "UNK", "SentencePieceText"]

#: Special tokens with their ids in the published vocabulary and in ours.
UNK, BOS, EOS, EOT, BOT = "<unk>", "<s>", "</s>", "<|EOT|>", "<|BOT|>"

TOKENIZER_FILE = "tokenizer.json"
SPACE = "▁"


class SentencePieceText:
    """The text tokenizer of the published system, or one trained by the same conventions.

    Satisfies :class:`stepaudio.interfaces.TextTokenizer`.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Wrap a tokenizer whose vocabulary ends with ``<audio_0>``, ``<audio_1>``, ...

        Args:
            tokenizer: built by one of the class methods.

        Raises:
            CheckpointError: special tokens are missing or have other ids than the published ones,
                or the audio tokens are not the last ids of the vocabulary, in order.
        """
        self._tokenizer = tokenizer
        self._size = tokenizer.get_vocab_size(with_added_tokens=True)
        for expected, token in enumerate((UNK, BOS, EOS, EOT, BOT)):
            if tokenizer.token_to_id(token) != expected:
                raise CheckpointError(
                    f"the text tokenizer must hold {token!r} as id {expected}, "
                    f"not {tokenizer.token_to_id(token)}"
                )
        offset = tokenizer.token_to_id("<audio_0>")
        if offset is None:
            raise CheckpointError(
                "the text tokenizer has no audio tokens <audio_0>, <audio_1>, ..."
            )
        self._audio_offset: int = offset
        for k in range(self.num_audio_tokens):
            if tokenizer.token_to_id(f"<audio_{k}>") != offset + k:
                raise CheckpointError(
                    f"the audio tokens must be the last ids of the text tokenizer, in order; "
                    f"id {offset + k} is {tokenizer.id_to_token(offset + k)!r} "
                    f"instead of '<audio_{k}>'"
                )

    @classmethod
    def from_sentencepiece(cls, path: str | Path) -> Self:
        """Read the published ``tokenizer.model``.

        Args:
            path: the sentencepiece file.

        Returns:
            The tokenizer; ids are the file's.

        Raises:
            CheckpointError: the file is missing, damaged or of another kind.
        """
        pieces = read_sentencepiece(path)
        literal = (PieceKind.UNKNOWN, PieceKind.CONTROL, PieceKind.USER_DEFINED)
        return cls.from_vocabulary(
            [(piece.text, piece.score) for piece in pieces],
            [piece.text for piece in pieces if piece.kind in literal],
        )

    @classmethod
    def from_vocabulary(
        cls, vocabulary: Sequence[tuple[str, float]], literals: Iterable[str]
    ) -> Self:
        """Build from pieces.

        Args:
            vocabulary: spelling and log-probability of every id, bytes as ``<0x00>``..``<0xFF>``.
            literals: the spellings to be matched literally before the unigram model.

        Returns:
            The tokenizer.

        Raises:
            CheckpointError: the vocabulary breaks the conventions of this class.
        """
        tokenizer = Tokenizer(models.Unigram(list(vocabulary), unk_id=0, byte_fallback=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            replacement=SPACE, prepend_scheme="first", split=False
        )
        tokenizer.decoder = decoders.Sequence(
            [
                decoders.Replace(SPACE, " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )
        tokenizer.add_tokens([AddedToken(text, normalized=False) for text in literals])
        return cls(tokenizer)

    @property
    def vocab_size(self) -> int:
        """Number of ids, text and audio."""
        return self._size

    @property
    def audio_offset(self) -> int:
        """Id of ``<audio_0>``; ``<audio_k>`` is ``audio_offset + k``."""
        return self._audio_offset

    @property
    def num_audio_tokens(self) -> int:
        """How many audio tokens the vocabulary ends with."""
        return self._size - self._audio_offset

    def encode(self, text: str) -> list[int]:
        """Ids of a text; special tokens written in it become their ids, none is added.

        Args:
            text: any script; the empty string gives no ids.

        Returns:
            The ids.

        Raises:
            PromptError: the text is not valid Unicode (a lone surrogate).
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise PromptError(
                f"the text is not valid Unicode at character {error.start}: {text[error.start]!r}"
            ) from error
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special and audio tokens written out.

        One leading space is dropped, because :meth:`encode` may have added it.

        Args:
            ids: each in ``0..vocab_size - 1``.

        Returns:
            The text; bytes that are not UTF-8 become the replacement character.

        Raises:
            PromptError: an id outside the vocabulary.
        """
        wrong = [i for i in ids if not 0 <= i < self._size]
        if wrong:
            raise PromptError(
                f"id {wrong[0]} is not in the text tokenizer, which has ids 0..{self._size - 1}"
            )
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def token_id(self, token: str) -> int:
        """Id of one token.

        Args:
            token: its exact spelling, for example ``"<|EOT|>"``.

        Returns:
            The id.

        Raises:
            KeyError: it is not in the vocabulary.
        """
        number: int | None = self._tokenizer.token_to_id(token)
        if number is None:
            raise KeyError(token)
        return number

    def token(self, number: int) -> str:
        """Spelling of one id.

        Args:
            number: the id.

        Returns:
            The token, spaces as ``▁``.

        Raises:
            PromptError: the id is not in the vocabulary.
        """
        if not 0 <= number < self._size:
            raise PromptError(f"id {number} is not in the text tokenizer of {self._size} ids")
        return str(self._tokenizer.id_to_token(number))

    def save_pretrained(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write ``tokenizer.json``.

        Args:
            folder: made if needed.
            force: allow replacing an existing file.

        Returns:
            The folder.

        Raises:
            OutputExistsError: the file exists and ``force`` is False.
        """
        write_atomic(
            Path(folder) / TOKENIZER_FILE,
            lambda path: self._tokenizer.save(str(path), pretty=False),
            force=force,
        )
        return Path(folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read a folder written by :meth:`save_pretrained`.

        Args:
            folder: a local folder.

        Returns:
            The tokenizer.

        Raises:
            CheckpointError: ``tokenizer.json`` is missing, damaged or breaks the conventions.
        """
        path = Path(folder) / TOKENIZER_FILE
        if not path.is_file():
            raise CheckpointError(f"{path} is missing; is this a stepaudio model folder?")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # a compiled module that raises the bare Exception type
            raise CheckpointError(f"{path} cannot be read as a tokenizer: {error}") from error
        return cls(tokenizer)
