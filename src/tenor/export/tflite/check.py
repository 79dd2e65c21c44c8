"""A file run by LiteRT on the model's example rows, and compared with what the model answers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.compiler.emit import reference
from tenor.errors import ExportError
from tenor.export.tflite.writer import IMAGE, to_last

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tenor.export.source import Source

    Array = NDArray[Any]

__all__ = ["Runner", "compared", "litert"]


def litert() -> Any | None:
    """Return LiteRT's interpreter module, or None where it is not installed."""
    try:
        return importlib.import_module("ai_edge_litert.interpreter")
    except ImportError:
        return None


class Runner:
    """A file in LiteRT.

    Inputs and outputs are arrays of the model: real numbers where the file has eight bits, and
    images with channels first where the file has them last.
    """

    def __init__(self, data: bytes, source: Source, *, channels_last: bool = False) -> None:
        module = litert()
        assert module is not None
        self.source, self.channels_last = source, channels_last
        try:
            self._engine = module.Interpreter(model_content=data)
            self._engine.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ExportError(
                "export: LiteRT must take the file.",
                came=str(error),
                fix="this is a mistake of the exporter: report it with the model; nothing was "
                "written",
            ) from error

    def __call__(self, given: dict[str, Array]) -> dict[str, Array]:
        """Return the outputs for one batch."""
        details = self._engine.get_input_details()
        for name, detail in zip(self.source.inputs, details, strict=True):
            array = given[name]
            if self.channels_last and array.ndim == IMAGE:
                array = array.transpose(to_last(IMAGE))
            self._engine.set_tensor(detail["index"], _entering(array, detail))
        self._engine.invoke()
        found = self._engine.get_output_details()
        return {
            name: _leaving(self._engine.get_tensor(detail["index"]), detail)
            for name, detail in zip(self.source.outputs, found, strict=True)
        }


def _entering(array: Array, detail: dict[str, Any]) -> Array:
    scale, zero = detail["quantization"]
    if scale:
        array = np.clip(np.rint(array / scale) + zero, -128, 127)
    return np.array(array, detail["dtype"], order="C")


def _leaving(array: Array, detail: dict[str, Any]) -> Array:
    scale, zero = detail["quantization"]
    return (array.astype(np.float32) - zero) * np.float32(scale) if scale else array


def batches(source: Source) -> Iterator[tuple[dict[str, Array], dict[str, Array], int]]:
    """Yield the example rows a batch at a time: inputs, answers, and how many rows of them count.

    The last batch is filled up with rows from the beginning.
    """
    total = max(
        (n for name, node in source.inputs.items()
         for n, m in zip(source.rows[name].shape, node.shape, strict=True) if n != m),
        default=source.batch or 1,
    )  # fmt: skip
    step = source.batch or 1
    for start in range(0, total, step):
        places = np.arange(start, start + step) % total
        sides = [
            {name: _rows(side[name], node.shape, places) for name, node in nodes.items()}
            for side, nodes in ((source.rows, source.inputs), (source.answers, source.outputs))
        ]
        yield sides[0], sides[1], min(step, total - start)


def _rows(array: Array, shape: tuple[int, ...], places: Array) -> Array:
    """Return the rows that a batch has, along each dim that is longer or shorter than there."""
    for d, (n, m) in enumerate(zip(array.shape, shape, strict=True)):
        if n != m:
            array = array.take(places, d)
    return array


def compared(
    data: bytes, source: Source, *, channels_last: bool = False, allowed: float | None = None
) -> tuple[float | None, int]:
    """Run a file on its model's example rows.

    Args:
        data: The file.
        source: What it was written from.
        channels_last: Whether the file's images have channels last.
        allowed: From which difference on a batch's rows may depend on each other, so that the
            answers to all example rows are no measure, and the interpreter is asked.

    Returns:
        The largest difference as a part of the largest magnitude, and the number of rows; None and
        0 where LiteRT is not installed or the model has no example rows.

    Raises:
        ExportError: LiteRT does not take the file.
    """
    if litert() is None or not source.rows:
        return None, 0
    run, worst, count = Runner(data, source, channels_last=channels_last), 0.0, 0
    for given, wanted, rows in batches(source):
        got = run(given)
        far = _difference(got, wanted)
        if allowed is not None and far > allowed:
            far = _difference(got, _interpreted(source, given))
        worst, count = max(worst, far), count + rows
    return worst, count


def _interpreted(source: Source, given: dict[str, Array]) -> dict[str, Array]:
    arrays = [*(given[name] for name in source.inputs), *source.weights.values()]
    return dict(zip(source.outputs, reference.run(source.graph, arrays, []), strict=True))


def _difference(got: dict[str, Array], wanted: dict[str, Array]) -> float:
    return max(_far(got[name], answer) for name, answer in wanted.items())


def _far(got: Array, wanted: Array) -> float:
    """Return a difference as a part of the largest magnitude; of integers, how many differ."""
    if wanted.dtype.kind != "f":
        return float(np.mean(got != wanted)) if wanted.size else 0.0
    finite = np.isfinite(wanted)
    if not np.array_equal(np.isfinite(got), finite):
        return float("inf")
    far = np.abs(got[finite].astype(np.float64) - wanted[finite])
    largest = np.abs(wanted[finite]).max(initial=0.0)
    return float(far.max(initial=0.0) / (largest or 1.0))
