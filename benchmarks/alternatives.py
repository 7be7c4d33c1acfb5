"""What a user would run instead of this library, on the same weights.

Written by us and as small as they can be, except for transformers, which is the real one.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stepaudio.decoder.snake import AntiAliased
from stepaudio.lm.alibi import alibi_slopes
from stepaudio.lm.cache import KVCache
from stepaudio.lm.step1 import Step1LM
from stepaudio.tokenizers.linguistic import LinguisticTokenizer

__all__ = ["FullBiasDecoder", "activate_plainly", "llama_of", "tokenize_by_chunks"]


def llama_of(lm: Step1LM, attention: str) -> Any:
    """The nearest model that transformers has: a Llama of the same shapes with the same tensors.

    Only the position signal differs (rotation instead of a bias), so that the first position,
    which has no distance to anything, gives the same scores.

    Args:
        lm: whose tensors it shares.
        attention: ``"eager"`` or ``"sdpa"``.

    Returns:
        A ``LlamaForCausalLM``.

    Raises:
        ImportError: transformers is not installed.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    ours = lm.config
    config = LlamaConfig(
        hidden_size=ours.hidden_size,
        intermediate_size=ours.intermediate_size,
        num_hidden_layers=ours.num_hidden_layers,
        num_attention_heads=ours.num_attention_heads,
        num_key_value_heads=ours.num_attention_groups,
        vocab_size=ours.vocab_size,
        rms_norm_eps=ours.rms_norm_eps,
        max_position_embeddings=ours.context_length,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation=attention,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model.load_state_dict(lm.state_dict(), strict=True, assign=True)
    # Its table of angles is no weight and was made on the device without memory.
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model.requires_grad_(False).eval()


class FullBiasDecoder:
    """One token at a time as the published fallback does it (published system, section 9).

    For every layer and every token the bias of all positions to all positions is made anew and all
    but its last row thrown away; keys and values are stored side by side and repeated for every
    query head.

    Args:
        lm: whose weights are used.
        cache: positions seen so far.
    """

    def __init__(self, lm: Step1LM, cache: KVCache) -> None:
        self.lm = lm
        pairs = [cache.layer(i) for i in range(lm.config.num_hidden_layers)]
        self.keys = [keys.transpose(1, 2).clone() for keys, _ in pairs]
        self.values = [values.transpose(1, 2).clone() for _, values in pairs]

    def next_logits(self, ids: Tensor) -> Tensor:
        """``[B, V]`` scores after one more id per row, ``[B, 1]``."""
        model, config = self.lm.model, self.lm.config
        heads, groups, size = (
            config.num_attention_heads,
            config.num_attention_groups,
            config.head_dim,
        )
        x = model.embed_tokens(ids)
        batch = len(x)
        for i, layer in enumerate(model.layers):
            attention, y = layer.self_attn, layer.input_layernorm(x)
            query = attention.q_proj(y).view(batch, 1, heads, size)
            key = attention.k_proj(y).view(batch, 1, groups, size)
            value = attention.v_proj(y).view(batch, 1, groups, size)
            self.keys[i] = torch.cat([self.keys[i], key], dim=1)
            self.values[i] = torch.cat([self.values[i], value], dim=1)
            keys = self.keys[i].repeat_interleave(heads // groups, dim=2)
            values = self.values[i].repeat_interleave(heads // groups, dim=2)
            bias = _full_bias(heads, keys.shape[1]).to(x.dtype)[:, -1:]
            scores = torch.einsum("bqhd,bkhd->bhqk", query, keys) * size**-0.5 + bias
            seen = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), values)
            x = x + attention.o_proj(seen.reshape(batch, 1, heads * size))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        logits: Tensor = self.lm.lm_head(model.norm(x))[:, -1]
        return logits


def _full_bias(heads: int, length: int) -> Tensor:
    """``[H, T, T]`` square-root ALiBi of all positions, minus infinity above the diagonal."""
    position = torch.arange(length)
    distance = position[:, None] - position[None, :]
    bias = -alibi_slopes(heads)[:, None, None] * distance.clamp(min=0).float().sqrt()
    return bias.masked_fill(distance < 0, float("-inf"))


def tokenize_by_chunks(tokenizer: LinguisticTokenizer, waveform: Tensor) -> Tensor:
    """Linguistic codes as the published encoder makes them: one chunk of 0.24 s after the other.

    Args:
        tokenizer: whose weights are used.
        waveform: ``[S]`` at 16 kHz.

    Returns:
        ``[T]`` int64 codes.
    """
    encoder, sizes = tokenizer.encoder, tokenizer.config.encoder
    windows = encoder.cut(tokenizer.features(waveform)[None])
    carry, codes = None, []
    for i in range(len(windows)):
        states, carry = encoder.encode(windows[i : i + 1], carry)
        new = slice(sizes.overlap, sizes.overlap + int(windows.new[i]))
        codes.append(tokenizer.quantize(states[0, new]))
    return torch.cat(codes)


def activate_plainly(activation: AntiAliased, x: Tensor) -> Tensor:
    """BigVGAN's activation as three passes over memory: double the rate, activate, halve it.

    Args:
        activation: whose filters and parameters are used.
        x: ``[B, C, T]``.

    Returns:
        ``[B, C, T]``.
    """
    channels = x.shape[1]
    up = activation.upsample.filter.expand(channels, -1, -1)
    down = activation.downsample.lowpass.filter.expand(channels, -1, -1)
    x = F.pad(x, (5, 5), mode="replicate")
    x = 2 * F.conv_transpose1d(x, up, stride=2, groups=channels)[..., 15:-15]
    x = F.pad(activation.act(x), (5, 6), mode="replicate")
    return F.conv1d(x, down, stride=2, groups=channels)
