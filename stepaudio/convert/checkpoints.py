"""The published PyTorch checkpoints: flow decoder, vocoder, linguistic encoder.

Sizes are read off the tensors wherever they show in a shape, and only what no shape tells comes
from the YAML file beside them. What both tell must agree. Values are looked up by key, because the
layout of those files is not fixed.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from stepaudio.convert.codebooks import fill_codebook
from stepaudio.convert.report import FileCoverage
from stepaudio.convert.sources import StateDict, read_numpy
from stepaudio.convert.yaml_settings import YamlSettings, read_yaml
from stepaudio.decoder.conformer import ConformerConfig
from stepaudio.decoder.dit import DiTConfig
from stepaudio.decoder.flow import FlowConfig, TokenFlowDecoder
from stepaudio.errors import CheckpointError
from stepaudio.hub import load_strict
from stepaudio.tokenizers.features import read_cmvn
from stepaudio.tokenizers.linguistic import LinguisticConfig, LinguisticTokenizer
from stepaudio.tokenizers.sanm import SANMConfig
from stepaudio.types import MelSpec, TokenSpec

__all__ = ["read_flow", "read_linguistic", "read_mel"]

_OTHER_PARTS = "another part of the speech recogniser; the tokenizer is its encoder alone"


def read_mel(settings: YamlSettings) -> MelSpec:
    """The mel front end that ``cosyvoice.yaml`` describes.

    Args:
        settings: the file.

    Returns:
        The front end; what the file leaves out is as published.

    Raises:
        CheckpointError: a value of the wrong kind, or no ``mel_conf``.
    """
    mel, published = settings.section("mel_conf"), MelSpec()
    return MelSpec(
        sample_rate=mel.integer("sampling_rate", published.sample_rate),
        n_mels=mel.integer("num_mels", published.n_mels),
        n_fft=mel.integer("n_fft", published.n_fft),
        hop_length=mel.integer("hop_size", published.hop_length),
        win_length=mel.integer("win_size", published.win_length),
        fmin=mel.number("fmin", published.fmin),
        fmax=mel.optional_number("fmax", published.fmax),
        center=mel.flag("center", published.center),
    )


def read_flow(
    path: Path, settings: YamlSettings, tokens: TokenSpec, file: str
) -> tuple[TokenFlowDecoder, FileCoverage]:
    """Read ``flow.pt`` with the ``flow`` and ``mel_conf`` sections of ``cosyvoice.yaml``.

    Args:
        path: the state dict.
        settings: ``cosyvoice.yaml``.
        tokens: the codebooks.
        file: name of the state dict in the report.

    Returns:
        The flow decoder and what was used of the file.

    Raises:
        CheckpointError: the files are damaged, contradict each other, or are another network.
    """
    weights = StateDict(path)
    yaml = settings.section("flow")
    shape = {
        "width": weights.size("encoder_proj.weight", 1),
        "heads": weights.size("encoder.encoders.0.self_attn.pos_bias_u", 0),
        "ffn": weights.size("encoder.encoders.0.feed_forward.w_1.weight", 0),
        "blocks": weights.depth("encoder.encoders.{}.norm_mha.weight"),
        "up_blocks": weights.depth("encoder.up_encoders.{}.norm_mha.weight"),
        "lookahead": weights.size("encoder.pre_lookahead_layer.conv1.weight", 2) - 1,
        "up_factor": (weights.size("encoder.up_layer.conv.weight", 2) - 1) // 2,
    }
    try:
        encoder = ConformerConfig(**shape)
    except ValueError as error:
        raise CheckpointError(f"{path} has an encoder of another kind: {error}") from error
    estimator = "decoder.estimator"
    width = weights.size(f"{estimator}.in_proj.weight", 0)
    head_dim = weights.size(f"{estimator}.blocks.0.attn.q_norm.weight", 0)
    velocity = DiTConfig(
        mel_channels=weights.size(f"{estimator}.final_layer.linear.weight", 0),
        width=width,
        depth=weights.depth(f"{estimator}.blocks.{{}}.attn.to_q.weight"),
        heads=weights.size(f"{estimator}.blocks.0.attn.to_q.weight", 0) // head_dim,
        head_dim=head_dim,
        mlp_ratio=weights.size(f"{estimator}.blocks.0.mlp.fc1.weight", 0) / width,
    )
    vocabulary = weights.size("input_embedding.embedding.weight", 0)
    if vocabulary != tokens.size + 1:
        raise CheckpointError(
            f"{path} embeds {vocabulary} values, but {tokens.linguistic_size} linguistic and "
            f"{tokens.semantic_size} semantic codes and a blank are {tokens.size + 1}"
        )
    speaker_dim = weights.size("spk_embed_affine_layer.weight", 1)
    for key, stored in (
        ("vocab_size", vocabulary),
        ("spk_embed_dim", speaker_dim),
        ("attention_heads", encoder.heads),
        ("linear_units", encoder.ffn),
        ("num_blocks", encoder.blocks),
        ("num_up_blocks", encoder.up_blocks),
        ("pre_lookahead_len", encoder.lookahead),
        ("up_stride", encoder.up_factor),
        ("depth", velocity.depth),
        ("num_heads", velocity.heads),
        ("head_dim", velocity.head_dim),
        ("hidden_size", velocity.width),
    ):
        yaml.agree(key, stored, path)
    try:
        config = FlowConfig(
            tokens=tokens,
            mel=read_mel(settings),
            speaker_dim=speaker_dim,
            encoder=encoder,
            velocity=velocity,
            guidance=yaml.number("inference_cfg_rate", FlowConfig.guidance),
            # The published caller rounds prompt and speaker; its numbers need it.
            published_rounding=True,
        )
    except ValueError as error:
        raise CheckpointError(f"{path} and {settings.path} do not fit: {error}") from error
    model = TokenFlowDecoder(config)
    load_strict(model, weights.tensors, str(path))
    coverage = FileCoverage(file, {name: f"flow: {name}" for name in weights.tensors})
    return model.eval(), coverage.close(weights.tensors)


def read_linguistic(
    folder: Path, codebook: Path, codes: int, file: str, codebook_file: str
) -> tuple[LinguisticTokenizer, list[FileCoverage]]:
    """Read the speech recogniser's encoder, its feature statistics and the k-means centroids.

    Args:
        folder: holds ``model.pt``, ``config.yaml`` and ``am.mvn``.
        codebook: ``linguistic_tokenizer.npy``.
        codes: size of the codebook; a smaller one is filled up, see :func:`fill_codebook`.
        file: name of ``model.pt`` in the report.
        codebook_file: name of the codebook in the report.

    Returns:
        The linguistic tokenizer and what was used of both tensor files.

    Raises:
        CheckpointError: a file is missing, damaged, contradicts another or is something else.
    """
    path = folder / "model.pt"
    everything = StateDict(path)
    coverage = FileCoverage(file)
    tensors: dict[str, Tensor] = {}
    for name, value in everything.tensors.items():
        if name.startswith("encoder."):
            tensors[name] = value
            coverage.used[name] = f"tokenizer: linguistic.{name}"
        else:
            coverage.unused[name] = _OTHER_PARTS
    centroids = fill_codebook(read_numpy(codebook).float(), codes, codebook)
    config = _linguistic_config(StateDict(path, tensors), folder / "config.yaml", codes)
    shift, scale = read_cmvn(folder / "am.mvn")
    tensors |= {"codebook": centroids, "cmvn_shift": shift, "cmvn_scale": scale}
    model = LinguisticTokenizer(config)
    load_strict(model, tensors, f"{path}, {codebook.name} and am.mvn")
    centroid_coverage = FileCoverage(codebook_file, {"array": "tokenizer: linguistic.codebook"})
    return model.eval(), [coverage.close(everything.tensors), centroid_coverage]


def _linguistic_config(weights: StateDict, path: Path, codes: int) -> LinguisticConfig:
    settings = read_yaml(path)
    encoder, frontend = settings.section("encoder_conf"), settings.section("frontend_conf")
    published = SANMConfig()
    width = weights.size("encoder.after_norm.weight", 0)
    depth = 1 + weights.depth("encoder.encoders.{}.norm1.weight")
    ffn = weights.size("encoder.encoders0.0.feed_forward.w_1.weight", 0)
    kernel = weights.size("encoder.encoders0.0.self_attn.fsmn_block.weight", 2)
    for key, value in (
        ("output_size", width),
        ("num_blocks", depth),
        ("linear_units", ffn),
        ("kernel_size", kernel),
        # A kernel off centre, unlike the published one, would need another padding.
        ("sanm_shfit", 0),
    ):
        encoder.agree(key, value, weights.path)
    for key, value in (("fs", 16000), ("lfr_m", 7), ("lfr_n", 6)):
        frontend.agree(key, value, weights.path)
    if frontend.text("window", "hamming") != "hamming":
        raise CheckpointError(f"{path}: window must be hamming, as in the published tokenizer")
    try:
        return LinguisticConfig(
            encoder=SANMConfig(
                input_dim=weights.size("encoder.encoders0.0.norm1.weight", 0),
                width=width,
                depth=depth,
                heads=encoder.integer("attention_heads", published.heads),
                ffn=ffn,
                kernel=kernel,
            ),
            n_mels=frontend.integer("n_mels", LinguisticConfig.n_mels),
            codebook_size=codes,
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
