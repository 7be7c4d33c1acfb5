"""The listeners of the vocoder's training."""

from __future__ import annotations

import pytest
import torch

from recipes.nano.discriminator import SpectrogramDiscriminators, adversarial_losses


@pytest.fixture
def listeners() -> SpectrogramDiscriminators:
    torch.manual_seed(0)
    return SpectrogramDiscriminators()


def sounds() -> tuple[torch.Tensor, torch.Tensor]:
    """A hiss, and tones."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(3000) / 24000
    tones = torch.stack([(200.0 * n * torch.pi * time).sin() for n in (1, 2, 3)])
    return 0.1 * torch.randn(3, 3000, generator=generator), 0.5 * tones


def test_every_loss_reaches_only_who_it_is_for(listeners: SpectrogramDiscriminators) -> None:
    for name in ("listen", "fool", "match"):
        fake, real = sounds()
        fake.requires_grad_()
        listeners.zero_grad()
        adversarial_losses(listeners, fake, real)[name].backward()  # type: ignore[no-untyped-call]
        taught = [p.grad is not None for p in listeners.parameters()]
        assert all(taught) if name == "listen" else not any(taught)
        assert (fake.grad is None) == (name == "listen")


def test_equal_sounds_match_and_listeners_learn_to_tell_others(
    listeners: SpectrogramDiscriminators,
) -> None:
    fake, real = sounds()
    assert adversarial_losses(listeners, real, real)["match"].item() == 0.0
    assert adversarial_losses(listeners, fake, real)["match"].item() > 0.1
    optimizer = torch.optim.Adam(listeners.parameters(), 4e-3)
    for _ in range(12):
        optimizer.zero_grad()
        losses = adversarial_losses(listeners, fake, real)
        losses["listen"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    # 0.5 is what calling everything half real would cost.
    listen, fool = (losses[name].item() for name in ("listen", "fool"))
    assert listen < 0.25 < 0.5 < fool
