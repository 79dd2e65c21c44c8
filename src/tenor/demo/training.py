"""The demo's training: `tn.Model` with a progress bar, event files, and a one-cycle rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tenor.data import DataLoader, TensorDataset
from tenor.optim import AdamW
from tenor.optim.lr_scheduler import OneCycleLR
from tenor.tensor import tensor
from tenor.train import LambdaCallback, Model, ProgressBar, TensorBoard

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tenor.nn import Module
    from tenor.train import Callback, History

    Array = NDArray[Any]

__all__ = ["EPOCHS", "train"]

EPOCHS: Final = 8
BATCH: Final = 64
RATE: Final = 1e-2


def train(
    network: Module,
    learn: tuple[Array, Array],
    held_out: tuple[Array, Array],
    events: Path,
    epochs: int,
    bar: bool,
) -> History:
    """Train a network to tell images apart.

    Args:
        network: From images to logits.
        learn: Images (count, 1, 8, 8) and labels (count,) to learn from.
        held_out: The same, to watch only.
        events: Where TensorBoard's event files go.
        epochs: Passes over the images.
        bar: Whether a progress bar is shown.
    """
    # Batches of one size are one program; the odd rest comes first another time.
    data = TensorDataset(tensor(learn[0]), tensor(learn[1]))
    loader: DataLoader[Any] = DataLoader(data, batch_size=BATCH, shuffle=True, drop_last=True)
    optimizer = AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = OneCycleLR(optimizer, RATE, total_steps=epochs * len(loader))
    model = Model(network)
    model.compile(optimizer, "cross_entropy", metrics=["accuracy"])
    callbacks: list[Callback] = [
        TensorBoard(events),
        LambdaCallback(on_train_batch_end=lambda _batch, _logs: schedule.step()),
    ]
    if bar:
        callbacks.append(ProgressBar())
    return model.fit(
        loader,
        epochs=epochs,
        validation_data=held_out,
        validation_batch_size=len(held_out[0]),
        callbacks=callbacks,
        verbose=0,
    )
