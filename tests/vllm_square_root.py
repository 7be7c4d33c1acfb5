"""What vLLM lacks on a CPU to run Step1: attention with a square-root bias. A plugin for tests.

On a GPU its Triton backend has that bias. Its kernels for CPUs do not, and it refuses the model
there; so here, and for nothing but tests, their place is taken by products written out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["install", "make_plugin"]


def make_plugin(folder: Path) -> None:
    """Make vLLM find this module.

    Args:
        folder: to be put on the path of Python's packages.
    """
    source = Path(__file__)
    (folder / source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    told = folder / "stepaudio_square_root-0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: stepaudio-square-root\nVersion: 0\n", encoding="utf-8"
    )
    (told / "entry_points.txt").write_text(
        f"[vllm.general_plugins]\nsquare_root = {source.stem}:install\n", encoding="utf-8"
    )


def install() -> None:
    """Called by vLLM in each of its processes."""
    from vllm.v1.attention.backends import cpu_attn

    class SquareRoot(cpu_attn.CPUAttentionBackendImpl):  # type: ignore[misc]
        def __init__(self, *args: Any, use_alibi_sqrt: bool = False, **more: Any) -> None:
            super().__init__(*args, **more)
            if not use_alibi_sqrt:
                raise ValueError("this plugin is for Step1 only")

        def do_kv_cache_update(
            self, layer: Any, key: Tensor, value: Tensor, kv_cache: Tensor, slot_mapping: Tensor
        ) -> None:
            size = kv_cache.shape[2]
            new = torch.cat([key, value], -1)[: len(slot_mapping)]
            kv_cache[slot_mapping // size, :, slot_mapping % size] = new

        def forward(
            self,
            layer: Any,
            query: Tensor,
            key: Tensor,
            value: Tensor,
            kv_cache: Tensor,
            attn_metadata: Any,
            output: Tensor,
            *_: Any,
            **__: Any,
        ) -> Tensor:
            if attn_metadata is None:  # vLLM warms up
                return output
            first, size = attn_metadata.query_start_loc.tolist(), kv_cache.shape[2]
            for number, length in enumerate(attn_metadata.seq_lens.tolist()):
                rows = slice(first[number], first[number + 1])
                blocks = attn_metadata.block_table[number, : -(-length // size)].long()
                seen = kv_cache[blocks].transpose(0, 1).flatten(1, 2)[:, :length]
                keys, values = seen.repeat_interleave(self.num_queries_per_kv, 0).chunk(2, -1)
                queries = query[rows].transpose(0, 1)
                here = torch.arange(length - queries.shape[1], length)[:, None]
                distance = here - torch.arange(length)
                bias = -self.alibi_slopes[:, None, None] * distance.clamp_min(0).sqrt()
                bias = bias.masked_fill(distance < 0, -torch.inf)
                scores = queries @ keys.transpose(1, 2) * self.scale + bias
                attended = (scores.softmax(-1) @ values).transpose(0, 1)
                output[rows] = attended.reshape(output[rows].shape)
            return output

    cpu_attn.CPUAttentionBackend.supports_alibi_sqrt = classmethod(lambda _: True)
    cpu_attn.CPUAttentionBackend.get_impl_cls = staticmethod(lambda: SquareRoot)
