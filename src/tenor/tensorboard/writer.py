"""An event file, and what can be added to it."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.tensorboard import png

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["EventWriter"]

_NUMBERS: Final = itertools.count()


class EventWriter:
    """Write an event file that TensorBoard shows.

    Arrays may be anything NumPy takes, tensors included. Any thread may write. What is written
    reaches the file system at `flush`, `close`, and every `flush_seconds` in passing.

    Args:
        logdir: The run's directory, made if it is missing; each writer adds a file of its own.
        flush_seconds: How long an added event may stay unseen, while others follow.

    Raises:
        ImportError: The `tensorboard` package is not installed.

    Example:
        >>> import tempfile
        >>> with EventWriter(tempfile.mkdtemp()) as writer:
        ...     for step in range(3):
        ...         writer.add_scalar("loss", 1 / (1 + step), step)
    """

    def __init__(self, logdir: str | os.PathLike[str], *, flush_seconds: float = 10.0) -> None:
        self._protos = _Protos()
        self.logdir = Path(logdir)
        self.logdir.mkdir(parents=True, exist_ok=True)
        name = (
            f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}"
            f".{os.getpid()}.{next(_NUMBERS)}"
        )
        self.path = self.logdir / name
        self._lock = threading.Lock()
        self._flush_seconds = flush_seconds
        self._flush_at = 0.0
        self._records = self._protos.RecordWriter(self.path.open("xb"))
        self._write(self._protos.Event(wall_time=time.time(), file_version="brain.Event:2"))

    # -- adding -----------------------------------------------------------------------------
    def add_scalar(
        self, tag: str, value: ArrayLike, step: int, wall_time: float | None = None
    ) -> None:
        """Add a number, kept as float32.

        Raises:
            ShapeError: `value` is not one number.
        """
        array = np.asarray(value, np.float64 if type(value) in (int, float) else None)
        if array.size != 1:
            raise ShapeError(
                "add_scalar: one number is wanted.",
                came=f"shape {list(array.shape)} for {tag!r}",
                fix="reduce it, e.g. with .mean(), or use add_histogram",
            )
        with np.errstate(over="ignore"):  # beyond float32 it is infinite, and shown so
            number = float(np.float32(_numbers("add_scalar", tag, array).reshape(())))
        self._add(tag, step, wall_time, simple_value=number)

    def add_histogram(
        self,
        tag: str,
        values: ArrayLike,
        step: int,
        bins: int | str | Sequence[float] = 64,
        wall_time: float | None = None,
    ) -> None:
        """Add the distribution of values; NaNs and infinities are left out of it.

        Args:
            tag: What it is called.
            values: Any shape.
            step: The step.
            bins: How many of equal width, ascending edges, or NumPy's name of a rule ("auto").
            wall_time: Seconds since 1970; by default now.
        """
        flat = _numbers("add_histogram", tag, np.asarray(values)).reshape(-1)
        flat = flat[np.isfinite(flat)]
        counts, edges = np.histogram(flat, bins)
        histogram = self._protos.HistogramProto(
            min=flat.min() if flat.size else 0.0,
            max=flat.max() if flat.size else 0.0,
            num=flat.size,
            sum=flat.sum(),
            sum_squares=np.dot(flat, flat),
            bucket_limit=edges[1:].tolist(),
            bucket=counts.tolist(),
        )
        self._add(tag, step, wall_time, histo=histogram)

    def add_image(
        self, tag: str, image: ArrayLike, step: int, wall_time: float | None = None
    ) -> None:
        """Add an image.

        Args:
            tag: What it is called.
            image: [height, width] or [height, width, channels] with 1 channel (gray), 2 (and
                alpha), 3 (RGB) or 4 (and alpha); uint8, bool, or floats from 0 to 1, which are
                clipped to that range (NaN is 0).
            step: The step.
            wall_time: Seconds since 1970; by default now.

        Raises:
            ShapeError: Another shape, or no pixels.
            DTypeError: Another dtype.
        """
        pixels = _pixels(tag, np.asarray(image))
        height, width, channels = pixels.shape
        encoded = self._protos.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=png.encode(pixels)
        )
        self._add(tag, step, wall_time, image=encoded)

    def add_text(self, tag: str, text: str, step: int, wall_time: float | None = None) -> None:
        """Add text, shown as Markdown."""
        tensor, metadata = self._protos.text(text)
        self._add(tag, step, wall_time, tensor=tensor, metadata=metadata)

    # -- the file ---------------------------------------------------------------------------
    def flush(self) -> None:
        """Hand everything added to the file system, where TensorBoard finds it."""
        with self._lock:
            self._records.flush()

    def close(self) -> None:
        """Flush and close the file; again does nothing."""
        with self._lock:
            if not self._records.closed:
                self._records.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add(self, tag: str, step: int, wall_time: float | None, **value: Any) -> None:
        if not tag or type(tag) is not str:
            raise ArgumentError("EventWriter: a tag is a string.", repr(tag), "e.g. 'train/loss'")
        summary = self._protos.Summary(value=[self._protos.Summary.Value(tag=tag, **value)])
        now = time.time() if wall_time is None else float(wall_time)
        self._write(self._protos.Event(wall_time=now, step=int(step), summary=summary))

    def _write(self, event: Any) -> None:
        data = event.SerializeToString()
        with self._lock:
            if self._records.closed:
                raise ArgumentError(
                    "EventWriter: an event needs an open writer.", "a closed one", "make another"
                )
            self._records.write(data)
            if time.monotonic() >= self._flush_at:
                self._records.flush()
                self._flush_at = time.monotonic() + self._flush_seconds


class _Protos:
    """What the `tensorboard` package offers, imported when the first writer is made.

    Its own EventFileWriter is not used: it imports TensorFlow where that is installed, and
    reports a full disk some calls later, from a thread.
    """

    def __init__(self) -> None:
        try:
            from tensorboard.compat.proto import (  # noqa: PLC0415 - an extra
                event_pb2,
                summary_pb2,
                tensor_pb2,
                tensor_shape_pb2,
                types_pb2,
            )
            from tensorboard.plugins.text import plugin_data_pb2  # noqa: PLC0415 - an extra
            from tensorboard.summary.writer import record_writer  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "tenor.tensorboard needs the package tensorboard: pip install 'tenor[tensorboard]'",
                name="tensorboard",
            ) from error
        self.RecordWriter = record_writer.RecordWriter
        self.Event = event_pb2.Event
        self.Summary = summary_pb2.Summary
        self.HistogramProto = summary_pb2.HistogramProto
        self.Image = summary_pb2.Summary.Image
        self._metadata = summary_pb2.SummaryMetadata
        self._text_data = plugin_data_pb2.TextPluginData
        self._tensor = tensor_pb2.TensorProto
        self._shape = tensor_shape_pb2.TensorShapeProto
        self._string = types_pb2.DT_STRING

    def text(self, text: str) -> tuple[Any, Any]:
        """Return a string tensor, and what tells TensorBoard to show it as text."""
        data = self._metadata.PluginData(
            plugin_name="text", content=self._text_data(version=0).SerializeToString()
        )
        shape = self._shape(dim=[self._shape.Dim(size=1)])
        tensor = self._tensor(dtype=self._string, string_val=[text.encode()], tensor_shape=shape)
        return tensor, self._metadata(plugin_data=data)


def _numbers(function: str, tag: str, array: NDArray[Any]) -> NDArray[np.float64]:
    if array.dtype.kind not in "biuf":
        raise DTypeError(
            f"{function}: numbers are wanted.",
            came=f"{array.dtype} for {tag!r}",
            fix="convert it to a float dtype",
        )
    return array.astype(np.float64)


def _pixels(tag: str, image: NDArray[Any]) -> NDArray[np.uint8]:
    shaped = image[..., None] if image.ndim == 2 else image
    if shaped.ndim != 3 or shaped.shape[2] not in png.COLOR_TYPES or 0 in shaped.shape:
        raise ShapeError(
            "add_image: [height, width] or [height, width, channels], with 1 to 4 channels.",
            came=f"shape {list(image.shape)} for {tag!r}",
            fix="PyTorch's order is channels first: use .permute(1, 2, 0)",
        )
    if shaped.dtype == np.uint8:
        return shaped
    if shaped.dtype.kind not in "bf":
        raise DTypeError(
            "add_image: uint8, bool, or floats from 0 to 1.",
            came=f"{image.dtype} for {tag!r}",
            fix="convert it, e.g. with .astype('uint8')",
        )
    unit = np.nan_to_num(shaped.astype(np.float64), nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(np.clip(unit, 0.0, 1.0) * 255).astype(np.uint8)
