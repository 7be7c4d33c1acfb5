"""What the golden tests of the flow decoder share: the config a golden file was made with."""

from __future__ import annotations

from typing import Any

from stepaudio.decoder.conformer import ConformerConfig
from stepaudio.decoder.dit import DiTConfig
from stepaudio.decoder.flow import FlowConfig

Settings = dict[str, Any]


def encoder_config(settings: Settings) -> ConformerConfig:
    return ConformerConfig(
        width=settings["output_size"],
        heads=settings["attention_heads"],
        ffn=settings["linear_units"],
        blocks=settings["num_blocks"],
        up_blocks=settings["num_up_blocks"],
        lookahead=settings["pre_lookahead_len"],
        up_factor=settings["up_stride"],
    )


def velocity_config(settings: Settings) -> DiTConfig:
    return DiTConfig(
        mel_channels=settings["out_channels"],
        width=settings["hidden_size"],
        depth=settings["depth"],
        heads=settings["num_heads"],
        head_dim=settings["head_dim"],
        mlp_ratio=settings["mlp_ratio"],
    )


def flow_config(settings: Settings, **changes: Any) -> FlowConfig:
    return FlowConfig(
        speaker_dim=settings["flow"]["spk_embed_dim"],
        encoder=encoder_config(settings["enc"]),
        velocity=velocity_config(settings["dit"]),
        guidance=settings["cfg"],
        **changes,
    )
