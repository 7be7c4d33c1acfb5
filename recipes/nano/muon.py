"""Muon: momentum whose every step is made orthogonal, in float32.

PyTorch's own computes in bfloat16, which processors without matrix units for it emulate: three
times slower per training step than this one. Source: Jordan et al. 2024; the step size that
matches AdamW's after Liu et al. 2025 (Moonlight), section 2.2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

__all__ = ["Muon", "orthogonalize"]

#: Odd polynomial ``a x + b x^3 + c x^5`` that drives singular values towards one.
QUINTIC = (3.4445, -4.7750, 2.0315)
STEPS = 5


def orthogonalize(matrices: Tensor) -> Tensor:
    """The nearest matrices with singular values about one, ``[..., M, N]`` to ``[..., M, N]``."""
    a, b, c = QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """For matrices inside a network; not for embeddings, output layers, norms or biases.

    Args:
        params: matrices and kernels of convolutions.
        lr: learning rate, of AdamW's scale.
        momentum: of the gradient, looked ahead (Nesterov).
        weight_decay: decoupled, per unit of learning rate.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move the matrices once; ``closure`` is not supported."""
        if closure is not None:
            raise ValueError("this optimizer takes no closure")
        for group in self.param_groups:
            # Those of one shape go together: many small products keep no accelerator busy.
            shapes: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    shapes[p.shape].append((p, p.grad))
            for shape, same in shapes.items():
                ahead = []
                for p, grad in same:
                    state = self.state[p]
                    if not state:
                        state["momentum"] = torch.zeros_like(p)
                    momentum = state["momentum"].lerp_(grad, 1 - group["momentum"])
                    ahead.append(grad.lerp(momentum, group["momentum"]))
                # A convolution is one matrix: outputs by everything they see.
                matrices = torch.stack(ahead).flatten(2)
                alpha = -0.2 * group["lr"] * max(matrices.shape[1:]) ** 0.5
                for (p, _), update in zip(same, orthogonalize(matrices), strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update.reshape(shape), alpha=alpha)
