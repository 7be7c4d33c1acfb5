"""The published vocoder: ``cosyvoice.yaml`` says which, ``hift.pt`` holds it whichever it is."""

from __future__ import annotations

from pathlib import Path

from stepaudio.convert.checkpoints import read_mel
from stepaudio.convert.report import FileCoverage
from stepaudio.convert.sources import StateDict
from stepaudio.convert.yaml_settings import YamlSettings
from stepaudio.decoder.bigvgan import BigVGANVocoder
from stepaudio.decoder.bigvgan_config import BigVGANConfig
from stepaudio.decoder.hift import HiFTConfig, HiFTVocoder
from stepaudio.decoder.weight_norm import fold_weight_norm
from stepaudio.errors import CheckpointError, SpecMismatchError

__all__ = ["read_vocoder"]


def read_vocoder(
    path: Path, settings: YamlSettings, file: str
) -> tuple[str, HiFTVocoder | BigVGANVocoder, FileCoverage]:
    """Read the vocoder.

    Args:
        path: ``hift.pt``, which holds the vocoder of either kind.
        settings: ``cosyvoice.yaml``; the class that its ``hift`` section names decides.
        file: name of the state dict in the report.

    Returns:
        ``"hift"`` or ``"bigvgan"``, the vocoder, and what was used of the file.

    Raises:
        CheckpointError: another kind of vocoder, or files that are damaged or do not fit.
    """
    section = settings.section("hift")
    stored = StateDict(path)
    coverage = FileCoverage(file, {name: f"vocoder: {name}" for name in stored.tensors})
    try:
        weights = StateDict(path, fold_weight_norm(stored.tensors))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if section.class_name == "HiFTGenerator":
        model = HiFTVocoder(_hift_config(section, settings, weights))
        model.load_published(weights.tensors, str(path))
        return "hift", model.eval(), coverage
    if section.class_name == "BigVGAN":
        other = BigVGANVocoder(_bigvgan_config(section, settings, weights))
        other.load_published(weights.tensors, str(path))
        return "bigvgan", other.eval(), coverage
    raise CheckpointError(
        f"{settings.path} names the vocoder {section.class_name or '(none)'!r}; "
        "only HiFTGenerator and BigVGAN are known"
    )


def _hift_config(section: YamlSettings, settings: YamlSettings, weights: StateDict) -> HiFTConfig:
    mel = read_mel(settings)
    base = weights.size("conv_pre.weight", 0)
    section.agree("in_channels", weights.size("conv_pre.weight", 1), weights.path)
    section.agree("base_channels", base, weights.path)
    section.agree("sampling_rate", mel.sample_rate, settings.path)
    published = HiFTConfig()
    nested = (published.resblock_dilations,)
    dilations = {
        *section.integer_lists("resblock_dilation_sizes", nested),
        *section.integer_lists("source_resblock_dilation_sizes", nested),
    }
    if len(dilations) != 1:
        raise CheckpointError(f"{settings.path}: all residual blocks must have the same dilations")
    try:
        return HiFTConfig(
            mel=mel,
            base_channels=base,
            harmonics=section.integer("nb_harmonics", published.harmonics),
            sine_amplitude=section.number("nsf_alpha", published.sine_amplitude),
            noise_std=section.number("nsf_sigma", published.noise_std),
            voiced_threshold=section.number("nsf_voiced_threshold", published.voiced_threshold),
            upsample_rates=section.integers("upsample_rates", published.upsample_rates),
            upsample_kernels=section.integers("upsample_kernel_sizes", published.upsample_kernels),
            istft_n_fft=section.integer("n_fft", published.istft_n_fft),
            istft_hop=section.integer("hop_len", published.istft_hop),
            resblock_kernels=section.integers("resblock_kernel_sizes", published.resblock_kernels),
            resblock_dilations=dilations.pop(),
            source_kernels=section.integers(
                "source_resblock_kernel_sizes", published.source_kernels
            ),
            slope=section.number("lrelu_slope", published.slope),
            audio_limit=section.number("audio_limit", published.audio_limit),
            f0_channels=weights.size("f0_predictor.condnet.0.weight", 0),
        )
    except (ValueError, SpecMismatchError) as error:
        raise CheckpointError(f"{settings.path}: {error}") from error


def _bigvgan_config(
    section: YamlSettings, settings: YamlSettings, weights: StateDict
) -> BigVGANConfig:
    initial = weights.size("conv_pre.weight", 0)
    section.agree("num_mels", weights.size("conv_pre.weight", 1), weights.path)
    section.agree("upsample_initial_channel", initial, weights.path)
    published = BigVGANConfig()
    try:
        return BigVGANConfig(
            mel=read_mel(settings),
            initial_channels=initial,
            upsample_rates=section.integers("upsample_rates", published.upsample_rates),
            upsample_kernels=section.integers("upsample_kernel_sizes", published.upsample_kernels),
            resblock=section.integer("resblock", published.resblock),
            resblock_kernels=section.integers("resblock_kernel_sizes", published.resblock_kernels),
            resblock_dilations=section.integer_lists(
                "resblock_dilation_sizes", published.resblock_dilations
            ),
            activation=section.text("activation", published.activation),
            log_scale=section.flag("snake_logscale", published.log_scale),
            tanh_at_final=section.flag("use_tanh_at_final", published.tanh_at_final),
            bias_at_final="conv_post.bias" in weights.tensors,
        )
    except (ValueError, SpecMismatchError) as error:
        raise CheckpointError(f"{settings.path}: {error}") from error
