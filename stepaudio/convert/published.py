"""The two published folders, ``Step-Audio-EditX`` and ``Step-Audio-Tokenizer``, to our layout.

The result is a pipeline folder: ``pipeline.json`` and one folder per part, each as written by the
part's own ``save_pretrained``. It appears at its place when it is complete, with
``conversion.json``, which says what became of every tensor.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from stepaudio.convert.checkpoints import read_flow, read_linguistic
from stepaudio.convert.graphs import read_campplus, read_semantic
from stepaudio.convert.language_model import (
    check_language_model,
    convert_language_model,
    read_lm_config,
)
from stepaudio.convert.new_folder import new_folder
from stepaudio.convert.report import ConversionReport, FileCoverage
from stepaudio.convert.sources import require_file
from stepaudio.convert.vocoders import read_vocoder
from stepaudio.convert.yaml_settings import read_yaml
from stepaudio.errors import CheckpointError
from stepaudio.parts import PIPELINE_FILE, write_manifest
from stepaudio.tokenizers.dual import DualCodebookConfig, DualCodebookTokenizer
from stepaudio.tokenizers.text import SentencePieceText
from stepaudio.types import FlowSpec, MelSpec, TokenSpec

__all__ = ["DECODER", "EDIT_FILES", "TOKENIZER_FILES", "convert_published"]

_PARTS = {
    "tokenizer": "dual_codebook",
    "text": "text",
    "lm": "step1",
    "flow": "token_flow",
    "vocoder": "hift",
    "speaker": "campplus",
}

#: Folder of the decoder's files within ``Step-Audio-EditX``.
DECODER = "CosyVoice-300M-25Hz"
#: What is read of ``Step-Audio-EditX``. Its decoder folder also holds a second copy, of half a
#: gigabyte, of the semantic tokenizer.
EDIT_FILES = (
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.model",
    *(f"{DECODER}/{name}" for name in ("cosyvoice.yaml", "flow.pt", "hift.pt", "campplus.onnx")),
)
#: What is read of ``Step-Audio-Tokenizer``.
TOKENIZER_FILES = (
    "linguistic_tokenizer.npy",
    "speech_tokenizer_v1.onnx",
    *(f"dengcunqin/*/{name}" for name in ("model.pt", "config.yaml", "am.mvn")),
)
#: Codebooks of the published system; its ids leave room for exactly these.
TOKENS = TokenSpec()


def convert_published(
    edit_folder: str | Path,
    tokenizer_folder: str | Path,
    out: str | Path,
    *,
    force: bool = False,
    semantic_heads: int | None = None,
) -> ConversionReport:
    """Convert the published checkpoints.

    Nothing that the files contain is executed, and the language model is never in memory as a
    whole.

    Args:
        edit_folder: ``Step-Audio-EditX`` as published.
        tokenizer_folder: ``Step-Audio-Tokenizer`` as published.
        out: the pipeline folder to write.
        force: allow replacing files in ``out``.
        semantic_heads: attention heads of the semantic tokenizer, which its file does not tell;
            None means 64 channels per head, as published.

    Returns:
        What became of every tensor; also written to ``conversion.json``.

    Raises:
        CheckpointError: a file is missing, damaged, unsafe or not what the system published.
        OutputExistsError: ``out`` is not empty and ``force`` is False.
    """
    edit, tokenizer, out = Path(edit_folder), Path(tokenizer_folder), Path(out)
    for folder in (edit, tokenizer):
        if not folder.is_dir():
            raise CheckpointError(f"{folder} is not a folder; give the published one")
    with new_folder(out, last=PIPELINE_FILE, force=force) as work:
        files, kind = _write_parts(edit, tokenizer, work, semantic_heads)
        report = ConversionReport(out, tuple(files), (f"vocoder: {kind}",))
        report.save(work)
        write_manifest(work, {**_PARTS, "vocoder": kind})
    return report


def _write_parts(
    edit: Path, tokenizer: Path, out: Path, semantic_heads: int | None
) -> tuple[list[FileCoverage], str]:
    """Convert part by part, the smaller ones first, so that what is wrong shows early."""
    decoder = edit / DECODER
    settings = read_yaml(decoder / "cosyvoice.yaml")
    config = read_lm_config(edit / "config.json")
    check_language_model(edit, config)
    path = decoder / "campplus.onnx"
    speaker, speaker_coverage = read_campplus(path, _name(edit, path))
    speaker.save_pretrained(out / "speaker")
    path = decoder / "hift.pt"
    kind, vocoder, vocoder_coverage = read_vocoder(path, settings, _name(edit, path))
    vocoder.save_pretrained(out / "vocoder")
    path = decoder / "flow.pt"
    flow, flow_coverage = read_flow(path, settings, TOKENS, _name(edit, path))
    _check_fit(flow.spec, vocoder.spec, speaker.dim, path)
    flow.save_pretrained(out / "flow")
    del flow
    dual, tokenizer_coverages = _read_tokenizer(tokenizer, semantic_heads)
    dual.save_pretrained(out / "tokenizer")
    del dual
    path = require_file(edit / "tokenizer.model", "text tokenizer")
    text = SentencePieceText.from_sentencepiece(path)
    if text.vocab_size != config.vocab_size:
        raise CheckpointError(
            f"{path} has {text.vocab_size} ids but config.json says vocab_size {config.vocab_size}"
        )
    text.save_pretrained(out / "text")
    config = replace(config, audio_offset=text.audio_offset)
    lm_coverages = [
        replace(coverage, file=_name(edit, edit / coverage.file))
        for coverage in convert_language_model(edit, config, out / "lm")
    ]
    files = [speaker_coverage, vocoder_coverage, flow_coverage, *tokenizer_coverages]
    return [*files, *lm_coverages], kind


def _check_fit(flow: FlowSpec, vocoder: MelSpec, speaker_dim: int, path: Path) -> None:
    if flow.mel != vocoder:
        raise CheckpointError(f"{path} writes {flow.mel} but the vocoder beside it reads {vocoder}")
    if flow.speaker_dim != speaker_dim:
        raise CheckpointError(
            f"{path} reads speaker embeddings of {flow.speaker_dim} values but campplus.onnx "
            f"gives {speaker_dim}"
        )


def _read_tokenizer(
    folder: Path, semantic_heads: int | None
) -> tuple[DualCodebookTokenizer, list[FileCoverage]]:
    recogniser = _recogniser(folder)
    linguistic, coverages = read_linguistic(
        recogniser,
        folder / "linguistic_tokenizer.npy",
        TOKENS.linguistic_size,
        _name(folder, recogniser / "model.pt"),
        _name(folder, folder / "linguistic_tokenizer.npy"),
    )
    path = folder / "speech_tokenizer_v1.onnx"
    semantic, coverage = read_semantic(
        path, TOKENS.semantic_size, _name(folder, path), heads=semantic_heads
    )
    with torch.device("meta"):
        dual = DualCodebookTokenizer(DualCodebookConfig(linguistic.config, semantic.config))
    dual.linguistic, dual.semantic = linguistic, semantic
    return dual.eval(), [*coverages, coverage]


def _recogniser(folder: Path) -> Path:
    """The folder of the speech recogniser, whose long name is not relied on."""
    found = sorted(folder.glob("dengcunqin/*/model.pt"))
    if len(found) != 1:
        raise CheckpointError(
            f"{folder} must hold exactly one dengcunqin/*/model.pt (the speech recogniser), "
            f"it holds {len(found)}"
        )
    return found[0].parent


def _name(folder: Path, path: Path) -> str:
    """A file as the report names it: the published folder's name and the path within."""
    return f"{folder.name}/{path.relative_to(folder).as_posix()}"
