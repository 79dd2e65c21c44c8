"""Keras' names: compile, fit, callbacks, evaluate, predict; then one file that answers by itself.

The data is lopsided: of every hundred samples three are of class 1. Class weights keep the network
from saying 0 every time, and a metric of your own says how many of the rare ones it finds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import tenor as tn
from tenor import nn
from tenor.train import Callback, EarlyStopping, ReduceLROnPlateau

tn.manual_seed(0)
x = tn.randn(4000, 8)
rare = (x[:, 0] * x[:, 1] + 0.5 * x[:, 2] ** 2 - x[:, 3]) > 3.4
y = rare.long()
print(f"{y.float().mean().item():.1%} of the samples are of class 1")


class Found(tn.metrics.Metric):
    """The share of the samples of class 1 that are found, over all batches."""

    def __init__(self) -> None:
        super().__init__("found")
        self.hits, self.all = self.count(), self.count()

    def update(self, preds: tn.Tensor, target: tn.Tensor, sample_weight: object = None) -> None:
        is_rare = target == 1
        self.hits += (is_rare & (preds.argmax(-1) == 1)).sum()
        self.all += is_rare.sum()

    def compute(self) -> tn.Tensor:
        return self.hits / self.all


class Speak(Callback):
    """A callback of your own: any moment has a method."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs and epoch % 5 == 0:
            print(f"epoch {epoch:2}", *(f"{name} {value:.3f}" for name, value in logs.items()))


model = tn.Model(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 2)))
model.compile(optimizer="adamw", loss="cross_entropy", metrics=["accuracy", Found()])
history = model.fit(
    x,
    y,
    batch_size=128,
    epochs=40,
    validation_split=0.2,
    class_weight={0: 1.0, 1: 12.0},
    callbacks=[
        Speak(),
        ReduceLROnPlateau(monitor="val_loss", patience=3),
        EarlyStopping(monitor="val_loss", patience=6, restore_best_weights=True),
    ],
    verbose=0,
)
model.summary()
print("after", len(history.epoch), "epochs:", model.evaluate(x, y, return_dict=True))

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "rare.tnr"
    tn.save(model, path, example_inputs=x[:4])
    answer = tn.load(path)(x[:100])  # what `tenor serve rare.tnr` would answer, bit for bit
    assert answer.tolist() == model.predict(x[:100]).tolist()
