"""One head of the language model is taught where to look.

The recipe knows which stretch of the source each new token renders, or which word it speaks, and a
model this small takes hours to find that out from the loss alone. Times are in units of 0.12 s.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recipes.nano.prefetch import Batch
from stepaudio.lm.alibi import alibi_slopes
from stepaudio.lm.step1 import Attention

__all__ = [
    "EXACT",
    "GUIDED_HEAD",
    "GUIDED_LAYER",
    "LETTERS",
    "ROUGH",
    "misplaced",
    "token_times",
]

#: The head that learns to follow: late enough to know what it looks for, early enough to use what
#: it finds, and of the slowest falling bias (the fourth of six heads).
GUIDED_LAYER, GUIDED_HEAD = 2, 3
#: How far, in units, it may look beside the right place: changes of real voices keep the time scale
#: exactly, another synthetic reading of the words only roughly; of letters the times of their words
#: are known.
EXACT, LETTERS, ROUGH = 0.6, 1.0, 2.0


def token_times(tokens: Tensor) -> Tensor:
    """Middle of what each token renders, in units: two linguistic, then three semantic in each.

    Args:
        tokens: numbers of tokens, counted from the first of a recording.

    Returns:
        Units, of the same shape.
    """
    slot = tokens % 5
    return tokens // 5 + torch.where(slot < 2, (2 * slot + 1) / 4, (2 * slot - 3) / 6)


def misplaced(attention: Attention, x: Tensor, batch: Batch, kinds: Tensor) -> Tensor:
    """How little the guided head looks at the place that its next token renders.

    Args:
        attention: the layer of the guided head.
        x: ``[B, T, D]`` what it reads.
        batch: ``ids`` ``[B, T + 1]``; ``asked`` ``[B, J]``, positions that predict the target,
            padded with -1; ``times`` ``[B, T]`` when each position is heard or spoken, infinite
            where it must not be looked at; ``wanted`` ``[B, J]``, the time to look for, not a
            number where nobody knows; ``width`` ``[B]``, tolerance in units.
        kinds: ``[V]`` codebook of each id, negative for text. A token looks for its own codebook,
            or for text.

    Returns:
        Mean negative logarithm of the attention that falls on the right place.
    """
    dim = attention.q_proj.out_features // attention.heads
    group = GUIDED_HEAD // (attention.heads // attention.groups)
    asked = batch["asked"].clamp_min(0)
    query = F.linear(x, attention.q_proj.weight[GUIDED_HEAD * dim :][:dim])
    query = query.gather(1, asked[..., None].expand(-1, -1, dim))
    key = F.linear(x, attention.k_proj.weight[group * dim :][:dim])
    place = torch.arange(x.shape[1], device=x.device)
    back = (place[:, None] - place).float()
    bias = -float(alibi_slopes(attention.heads)[GUIDED_HEAD]) * back.clamp(min=0).sqrt()
    bias = bias.masked_fill(back < 0, float("-inf"))
    looks = ((query @ key.transpose(1, 2)).float() * dim**-0.5 + bias[asked]).softmax(dim=-1)
    width, wanted = batch["width"][:, None, None], batch["wanted"]
    off = (wanted.nan_to_num()[:, :, None] - batch["times"][:, None]) / width
    right = off.square_().mul_(-0.5).exp_()
    kind = kinds[batch["ids"]]
    there = kind[:, None, :-1]
    right = right * ((there == kind[:, 1:].gather(1, asked)[:, :, None]) | (there < 0))
    missed = -torch.log((looks * right).sum(dim=-1) + 1e-3)
    counted = (batch["asked"] >= 0) & wanted.isfinite()
    return (missed * counted).sum() / counted.sum().clamp_min(1)
