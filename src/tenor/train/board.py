"""TensorBoard: curves, histograms of weights, and sample images of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.errors import ArgumentError
from tenor.tensor.conversion import concrete
from tenor.tensorboard import EventWriter
from tenor.train.callback import Callback

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Write what `tensorboard --logdir` shows.

    Training's metrics go to `log_dir/train` and validation's to `log_dir/validation`, under the
    same names, so that they share a chart: epoch_loss, epoch_accuracy, epoch_learning_rate;
    weights/... as histograms; samples as an image; the model's summary as text.

    Args:
        log_dir: The run's directory.
        histogram_freq: Epochs from one histogram of the weights to the next; 0 for none.
        images: How many training images to show, where inputs are images; 0 for none.
        update_freq: "epoch", "batch", or a number of batches: how often metrics are written.
        write_graph: Whether to write the model's summary.

    Raises:
        ArgumentError: update_freq is none of these.
        ImportError: the `tensorboard` package is not installed.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 1,
        images: int = 16,
        update_freq: str | int = "epoch",
        write_graph: bool = True,
    ) -> None:
        if update_freq not in ("epoch", "batch") and not isinstance(update_freq, int):
            raise ArgumentError(
                "TensorBoard: update_freq is epoch, batch or a number of batches.",
                came=repr(update_freq),
                fix="e.g. update_freq='epoch'",
            )
        self.log_dir = Path(log_dir)
        self.histogram_freq = histogram_freq
        self.images = images
        self.every = {"epoch": 0, "batch": 1}.get(str(update_freq), update_freq)
        self.write_graph = write_graph
        self.writers: dict[str, EventWriter] = {}
        self.steps = 0
        self.shown = False

    def writer(self, run: str) -> EventWriter:
        """Return the writer of "train" or "validation"."""
        if run not in self.writers:
            self.writers[run] = EventWriter(self.log_dir / run)
        return self.writers[run]

    # -- moments ----------------------------------------------------------------------------------
    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Open the files."""
        del logs
        self.steps = 0
        self.shown = False
        self.writer("train")

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write the metrics so far, where asked to; at first the samples and the summary."""
        del batch
        self.steps += 1
        if not self.shown:
            self.shown = True
            self._show()
        if self.every and self.steps % int(self.every) == 0:
            for name, value in (logs or {}).items():
                self._scalar("train", f"batch_{name}", value, self.steps)
            self._scalar("train", "batch_learning_rate", self._rate(), self.steps)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write the epoch's metrics, rate and weights."""
        for name, value in (logs or {}).items():
            run = "validation" if name.startswith("val_") else "train"
            if name != "learning_rate":
                self._scalar(run, f"epoch_{name.removeprefix('val_')}", value, epoch)
        self._scalar("train", "epoch_learning_rate", self._rate(), epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._histograms(epoch)
        for writer in self.writers.values():
            writer.flush()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Close the files."""
        del logs
        self._close()

    def on_exception(self, error: BaseException) -> None:
        """Close the files; what was written stands."""
        del error
        self._close()

    # -- writing ----------------------------------------------------------------------------------
    def _rate(self) -> float:
        return float(self.model.optimizer.param_groups[0]["lr"])

    def _scalar(self, run: str, tag: str, value: Any, step: int) -> None:
        if isinstance(value, (int, float)):
            self.writer(run).add_scalar(tag, value, step)

    def _histograms(self, epoch: int) -> None:
        for name, parameter in self.model.network.named_parameters():
            values = concrete(parameter, "TensorBoard")
            self.writer("train").add_histogram(f"weights/{name}", values, epoch)

    def _show(self) -> None:
        writer = self.writer("train")
        if self.write_graph:
            table = self.model.summarize().text()
            writer.add_text("model", "\n".join("    " + line for line in table.split("\n")), 0)
        batch = self.model.batch
        shape = getattr(batch.x, "shape", ()) if batch is not None else ()
        if self.images and len(shape) == 4 and shape[1] in (1, 3, 4):  # type: ignore[misc]
            values = concrete(batch.x, "TensorBoard")[: self.images]
            writer.add_image("samples", mosaic(values), 0)

    def _close(self) -> None:
        for writer in self.writers.values():
            writer.close()
        self.writers = {}


def mosaic(images: NDArray[Any]) -> NDArray[np.float32]:
    """Return images beside and below one another, brought to [0, 1].

    Args:
        images: Shape (count, channels, height, width).

    Returns:
        Shape (rows (height + 1) - 1, columns (width + 1) - 1, channels), a pixel between images.
    """
    count, channels, height, width = images.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    values = images.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if low < 0.0 or high > 1.0:
        values = (values - low) / ((high - low) or 1.0)
    board = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), np.float32)
    for i, image in enumerate(values):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        board[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return board
