"""A variational autoencoder of handwritten digits, and new digits drawn from it.

The loss needs a sample: z = mean + exp(log_variance / 2) * noise. The noise comes from Tenor's
generator, so the same seed gives the same pictures, bit for bit, on every run.
"""

from __future__ import annotations

import tenor as tn
from tenor import nn
from tenor.nn import functional as F

tn.manual_seed(0)
images = tn.from_numpy(tn.data.load_digits()[0]).reshape(-1, 64)


class VAE(nn.Module):
    def __init__(self, latent: int = 6) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, 128), nn.ReLU(), nn.Linear(128, 64))

    def forward(self, x: tn.Tensor) -> tuple[tn.Tensor, tn.Tensor, tn.Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        z = mean + (0.5 * log_variance).exp() * tn.randn_like(mean)
        return self.decoder(z), mean, log_variance


def loss_of(logits, x, mean, log_variance):
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
    return (reconstruction + divergence) / len(x)


vae = VAE()
optimizer = tn.optim.Adam(vae.parameters(), lr=3e-3)
loader = tn.data.DataLoader(tn.data.TensorDataset(images), 128, shuffle=True, drop_last=True)

for epoch in range(30):
    total = 0.0
    for (x,) in loader:
        logits, mean, log_variance = vae(x)
        loss = loss_of(logits, x, mean, log_variance)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach()  # a tensor still: nothing waits for it until it is printed
    if epoch % 5 == 4:
        print(f"epoch {epoch + 1:2}  loss {total.item() / len(loader):.2f}")

with tn.no_grad():
    drawn = vae.decoder(tn.randn(6, 6)).sigmoid().reshape(6, 8, 8)
for row in range(8):  # six new digits, side by side
    print("   ".join("".join(" .:*#"[int(v * 4.99)] * 2 for v in d[row]) for d in drawn.tolist()))
