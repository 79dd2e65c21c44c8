"""A Wasserstein GAN with gradient penalty: points on a ring out of noise.

The penalty is a function of a gradient, and is itself differentiated: `autograd.grad` with
`create_graph=True` records the gradient like any other computation.
"""

from __future__ import annotations

import math

import tenor as tn
from tenor import nn

tn.manual_seed(0)
BATCH = 256


def network(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, outputs)
    )


generator, critic = network(4, 2), network(2, 1)
generator_optimizer = tn.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
critic_optimizer = tn.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.9))


def real_points() -> tn.Tensor:
    angle = tn.rand(BATCH) * (2 * math.pi)
    return tn.stack([angle.cos(), angle.sin()], dim=1) + 0.02 * tn.randn(BATCH, 2)


def penalty(real: tn.Tensor, fake: tn.Tensor) -> tn.Tensor:
    """How far the critic's slope is from 1 between real and made points."""
    mix = tn.rand(BATCH, 1)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    (slope,) = tn.autograd.grad(critic(between).sum(), between, create_graph=True)
    return ((slope.norm(dim=1) - 1) ** 2).mean()


for step in range(401):
    for _ in range(3):
        real, fake = real_points(), generator(tn.randn(BATCH, 4)).detach()
        distance = critic(real).mean() - critic(fake).mean()
        loss = -distance + penalty(real, fake)
        critic_optimizer.zero_grad()
        loss.backward()
        critic_optimizer.step()

    made = generator(tn.randn(BATCH, 4))
    loss = -critic(made).mean()
    generator_optimizer.zero_grad()
    loss.backward()
    generator_optimizer.step()
    if step % 100 == 0:
        radius = made.detach().norm(dim=1)
        print(
            f"step {step:3}  distance {distance.item():6.3f}  "
            f"radius {radius.mean():.3f} ± {radius.std():.3f}"
        )
