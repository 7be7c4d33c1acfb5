"""A pipeline folder to the folders of a run, so that a training can go on from what is published.

The opposite of :mod:`recipes.nano.assemble`, except that what was rounded stays rounded. Optimizers
begin anew.

    python -m recipes.nano.take_apart stepaudio/assets/nano -o runs/nano
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stepaudio.hub import Pretrained
from stepaudio.parts import load_parts
from stepaudio.tokenizers.dual import DualCodebookTokenizer
from stepaudio.tokenizers.text import SentencePieceText

__all__ = ["take_apart"]


def take_apart(folder: Path, out: Path) -> None:
    """Write every part where the trainings look for it.

    Args:
        folder: of a pipeline, as :func:`recipes.nano.assemble.assemble` makes them.
        out: gets ``linguistic``, ``semantic``, ``speaker``, ``lm``, ``flow``, ``vocoder_tuned``.

    Raises:
        ValueError: another kind of tokenizer.
        OutputExistsError: a part is there already.
    """
    parts = load_parts(folder)
    tokenizer = parts.tokenizer
    if not isinstance(tokenizer, DualCodebookTokenizer):
        raise ValueError(
            f"{folder} has a {type(tokenizer).__name__}, not a dual-codebook tokenizer"
        )
    found = {
        "linguistic": tokenizer.linguistic, "semantic": tokenizer.semantic,
        "speaker": parts.speaker, "lm": parts.lm, "flow": parts.flow,
        "vocoder_tuned": parts.vocoder,
    }  # fmt: skip
    for name, part in found.items():
        assert isinstance(part, Pretrained)
        part.save_pretrained(out / name / "model")
    assert isinstance(parts.text, SentencePieceText)
    parts.text.save_pretrained(out / "lm" / "text")


def main() -> None:
    """Take one apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    take_apart(args.folder, args.out)


if __name__ == "__main__":
    main()
