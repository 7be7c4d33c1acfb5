"""Trained parts to one pipeline folder, weights in half precision and less.

python -m recipes.nano.assemble runs/nano -o stepaudio/assets/nano
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from recipes.nano.data.voice_change import CHANGES
from recipes.nano.manners import MANNERS
from stepaudio.decoder.flow import TokenFlowDecoder
from stepaudio.decoder.istft import ISTFTVocoder
from stepaudio.decoder.speaker import CAMPPlus
from stepaudio.hub import Pretrained
from stepaudio.lm.step1 import Step1LM
from stepaudio.parts import Defaults, Parts, save_parts
from stepaudio.recording_edits import RECORDING_EDITS
from stepaudio.tokenizers.dual import DualCodebookConfig, DualCodebookTokenizer
from stepaudio.tokenizers.linguistic import LinguisticTokenizer
from stepaudio.tokenizers.semantic import SemanticTokenizer
from stepaudio.tokenizers.text import SentencePieceText
from stepaudio.types import SamplingParams
from stepaudio.voice import Timbre

__all__ = ["assemble"]


def assemble(runs: Path) -> Parts:
    """The parts of a finished run.

    Args:
        runs: folder with ``linguistic``, ``semantic``, ``lm``, ``flow``, ``vocoder_tuned``,
            ``speaker``.
    """
    linguistic = LinguisticTokenizer.from_pretrained(runs / "linguistic" / "model")
    semantic = SemanticTokenizer.from_pretrained(runs / "semantic" / "model")
    # Trained on untrimmed recordings, so that codes and mel frames mean the same moments.
    tokenizer = DualCodebookTokenizer(
        DualCodebookConfig(linguistic.config, semantic.config, trim=False)
    )
    tokenizer.linguistic.load_state_dict(linguistic.state_dict())
    tokenizer.semantic.load_state_dict(semantic.state_dict())
    return Parts(
        tokenizer=tokenizer.eval(),
        text=SentencePieceText.from_pretrained(runs / "lm" / "text"),
        lm=Step1LM.from_pretrained(runs / "lm" / "model"),
        flow=TokenFlowDecoder.from_pretrained(runs / "flow" / "model"),
        vocoder=ISTFTVocoder.from_pretrained(runs / "vocoder_tuned" / "model"),
        speaker=CAMPPlus.from_pretrained(runs / "speaker" / "model"),
    )


def storage(name: str) -> torch.dtype:
    """How a tensor is kept on disk: tables of codes and words lose little in eight bits."""
    tables = ("embed_tokens.weight", "lm_head.weight", "input_embedding.embedding.weight")
    return torch.float8_e4m3fn if name.endswith(tables) else torch.float16


#: Four draws together cost little more than one, and the best of them keeps clearly more words
#: (``docs/experiments/nano.md``).
DRAWS = 4


#: In longer recordings it loses its place now and then (``docs/experiments/nano.md``).
PART_SECONDS = 8.0

#: Away from a recording in disorder, and from a plain one: half of a unit keeps a quarter more of
#: the words, or makes a melody wider (``docs/experiments/nano.md``).
GUIDANCE_WORDS, GUIDANCE_EDIT = 0.5, {"exaggerated": 0.5}

#: Away from letters in disorder: a quarter more of the words that shall be spoken are understood.
GUIDANCE_TEXT = 0.7

#: What the codes cannot say, because they are relative to the recording's average: the vocal tract,
#: and that a whisper has little below 500 Hz and higher formants.
TIMBRES = {
    "child": Timbre(formants=1.1),
    "older": Timbre(formants=0.92),
    "whisper": Timbre(formants=1.05, tilt_db=8.0),
}


def main() -> None:
    """Write the folder and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--start", type=float, default=0.2, help="time the flow begins at")
    parser.add_argument("--temperature", type=float, default=0.0, help="of the flow's noise")
    parser.add_argument("--steps", type=int, default=2, help="of the flow's solver")
    parser.add_argument("--guidance", type=float, default=0.0, help="of the flow")
    args = parser.parse_args()
    parts, out = assemble(Path(args.runs)), Path(args.out)
    assert isinstance(parts.flow, TokenFlowDecoder)
    parts.flow.config = replace(
        parts.flow.config, start=args.start, temperature=args.temperature, steps=args.steps
    )
    # Hotter sampling makes this small model lose its place in the source.
    sampling = SamplingParams(temperature=0.8, top_p=0.8, max_new_tokens=2000, min_new_tokens=5)
    defaults = Defaults(
        sampling=sampling, guidance=args.guidance, max_length_ratio=2.0, draws=DRAWS,
        speeds={k.removeprefix("speed:"): 1 / c.rate for k, c in CHANGES.items() if "speed:" in k},
        timbres=TIMBRES, part_seconds=PART_SECONDS, guidance_words=GUIDANCE_WORDS,
        guidance_edit=GUIDANCE_EDIT, guidance_text=GUIDANCE_TEXT,
        on_recording=tuple(RECORDING_EDITS), manners=MANNERS,
    )  # fmt: skip
    save_parts(parts, out, defaults=defaults, force=True)
    for role in ("tokenizer", "lm", "flow", "vocoder", "speaker"):
        part = getattr(parts, role)
        assert isinstance(part, Pretrained)
        part.save_pretrained(out / role, dtype=storage, force=True)
    total = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    print(f"{out}: {total / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
