"""Words kept as a reward, told from linguistic codes alone; nothing is decoded.

The semantic codes also hear how something is said, which is what an edit of emotion or style shall
change, so they are left out here. How codes are compared is in
:mod:`stepaudio.tokenizers.content`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stepaudio.rl.guards import source_ids
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.tokenizers.content import code_costs, warped_cost
from stepaudio.tokenizers.interleave import deinterleave, truncate_ids
from stepaudio.types import LMSpec

__all__ = ["ContentReward"]


class ContentReward:
    """How well the words of the recording in the prompt survive: 1 for the same codes.

    Codes of unrelated speech get what chance gives, well above 0. Rows without a recording and
    answers without a whole unit get 0.

    Args:
        spec: of the policy.
        codebook: ``[K, D]`` centroids of the linguistic tokenizer.

    Raises:
        ValueError: a codebook of another size than the policy's linguistic codes.
    """

    def __init__(self, spec: LMSpec, codebook: Tensor) -> None:
        if len(codebook) != spec.tokens.linguistic_size:
            raise ValueError(
                f"the codebook has {len(codebook)} codes but the policy writes "
                f"{spec.tokens.linguistic_size}; take the tokenizer that the model was trained with"
            )
        self.spec = spec
        self.codebook = codebook.detach().cpu().double()

    def __call__(self, prompts: Sequence[PromptRow], responses: Sequence[Tensor]) -> Tensor:
        """Kept content of every response, ``[B]`` in 0..1."""
        pairs = zip(prompts, responses, strict=True)
        return torch.tensor([self._kept(source_ids(p.ids, self.spec), r) for p, r in pairs])

    def _kept(self, source: Tensor, response: Tensor) -> float:
        said, heard = self._codes(source), self._codes(response)
        if not len(said) or not len(heard):
            return 0.0
        return 1.0 - warped_cost(code_costs(said, heard, self.codebook).numpy())

    def _codes(self, ids: Tensor) -> Tensor:
        spec = self.spec
        whole = truncate_ids(ids.cpu(), spec.tokens)
        return deinterleave(whole, spec.tokens, spec.audio_offset).linguistic
