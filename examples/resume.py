"""Stop in the middle, write a checkpoint, go on from it: not one bit of the losses differs.

A checkpoint is the weights, the optimizer's and the schedule's state, and where the random numbers
stand (they shuffle the data and choose what dropout drops). All of it goes into one file of plain
data.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import tenor as tn
from tenor import nn
from tenor.nn import functional as F

images, labels, *_ = tn.data.load_digits()
digits = tn.data.TensorDataset(images, labels)
EPOCHS, PARTS = 6, ("net", "optimizer", "schedule")


class Run:
    """Everything one training run consists of."""

    def __init__(self) -> None:
        tn.manual_seed(0)
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10)
        )
        self.optimizer = tn.optim.AdamW(self.net.parameters(), lr=3e-3)
        self.schedule = tn.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=EPOCHS)
        self.epoch = 0

    def train(self, until: int) -> list[float]:
        losses = []
        while self.epoch < until:
            for x, y in tn.data.DataLoader(digits, batch_size=64, shuffle=True):
                loss = F.cross_entropy(self.net(x), y)
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.net.parameters(), max_norm=1.0)
                self.optimizer.step()
            self.schedule.step()
            self.epoch += 1
            losses.append(loss.item())
        return losses

    def save(self, path: Path) -> None:
        parts = {
            name: getattr(self, name).state_dict() for name in ("net", "optimizer", "schedule")
        }
        tn.save({**parts, "epoch": self.epoch, "random": tn.get_rng_state()}, path)

    def load(self, path: Path) -> None:
        held = tn.load(path)
        for name in PARTS:
            getattr(self, name).load_state_dict(held[name])
        self.epoch = held["epoch"]
        tn.set_rng_state(held["random"])


whole = Run().train(EPOCHS)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "checkpoint.safetensors"
    first = Run()
    before = first.train(EPOCHS // 2)
    first.save(path)

    second = Run()
    second.load(path)
    after = second.train(EPOCHS)

print("without a stop:", *(f"{loss:.6f}" for loss in whole))
print("with one      :", *(f"{loss:.6f}" for loss in before + after))
print("the same bits :", whole == before + after)
assert whole == before + after
