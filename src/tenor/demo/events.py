"""What is in event files, read by TensorBoard's own reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["WANTED", "forget", "missing"]

WANTED: Final = (
    ("scalars", "epoch_loss"),
    ("scalars", "epoch_accuracy"),
    ("scalars", "epoch_learning_rate"),
    ("histograms", "weights/"),
    ("images", "samples"),
)
"""What the training's event files must show: TensorBoard's kind, and how a tag begins."""


def forget(events: Path) -> None:
    """Remove event files of an earlier run, which would share the charts."""
    for file in sorted(events.rglob("events.out.tfevents.*")):
        file.unlink()


def missing(run: Path) -> list[str]:
    """Return which of WANTED the stock TensorBoard does not find in a run."""
    # Imported here: the package takes a second, and comes with an extra.
    from tensorboard.backend.event_processing.event_accumulator import (  # noqa: PLC0415
        EventAccumulator,
    )

    found = EventAccumulator(str(run))
    found.Reload()
    tags = found.Tags()
    return [
        f"{kind} {name}"
        for kind, name in WANTED
        if not any(tag.startswith(name) for tag in tags[kind])
    ]
