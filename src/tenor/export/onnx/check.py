"""Running what was written, before it is put in place: ONNX Runtime against the saved model."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tenor.errors import ExportError
from tenor.ir import dtype as dt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tenor.export.source import Source
    from tenor.save.loaded import LoadedModel
    from tenor.save.manifest import Signature

    Arrays = Mapping[str, NDArray[Any]]

__all__ = ["Compared", "compared", "session"]


class Compared(NamedTuple):
    """What running a model showed.

    Attributes:
        difference: The worst difference of an output, relative to its largest magnitude.
        output: Which output that is.
        rows: How many rows were run; 0: none could be.
    """

    difference: float
    output: str
    rows: int


def available() -> bool:
    """Tell whether ONNX Runtime is installed."""
    return importlib.util.find_spec("onnxruntime") is not None


def session(model: bytes | Path) -> Any:
    """Return a session that runs a model, on one thread."""
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    given = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def compared(
    model: LoadedModel, source: Source, written: bytes | Path, *, symbolic: bool
) -> Compared:
    """Run a model on the bundle's examples, and compare with what the saved model answers.

    Raises:
        ExportError: ONNX Runtime does not run it.
    """
    signature = model.signature(source.signature)
    held = [spec.dtype for spec in (*signature.inputs, *signature.outputs)]
    if not available() or not source.rows or dt.bfloat16 in held:
        return Compared(0.0, "", 0)
    worst, rows = Compared(0.0, "", 0), 0
    try:
        ready = session(written)
        for inputs in _batches(signature, source, symbolic=symbolic):
            got = ready.run(list(source.outputs), dict(inputs))
            want = source.answers if inputs is source.rows else model.run(source.signature, inputs)
            found = _worst(dict(zip(source.outputs, got, strict=True)), want)
            count = next((len(a) for a in inputs.values() if a.ndim), 1)
            rows = max(rows, count) if symbolic else rows + count
            worst = max(worst, found)
    except Exception as error:
        if type(error).__module__.split(".")[0] != "onnxruntime":
            raise
        raise ExportError(
            f"onnx: ONNX Runtime must run {source.name!r} as it was written.",
            came=str(error)[:500],
            fix="report this with the model; nothing was written",
        ) from error
    return worst._replace(rows=rows)


def _batches(signature: Signature, source: Source, *, symbolic: bool) -> Iterator[Arrays]:
    """Yield the example's rows in batches that the model takes."""
    rows = source.rows
    sizes = {
        rows[s.name].shape[d]
        for s in signature.inputs for d, dim in enumerate(s.shape) if isinstance(dim, str)
    }  # fmt: skip
    counted = [s.name for s in signature.inputs if s.shape and isinstance(s.shape[0], str)]
    only_first = sum(isinstance(dim, str) for s in signature.inputs for dim in s.shape)
    if not sizes or symbolic or sizes == {source.batch}:
        yield rows
    if len(sizes) != 1 or not counted or only_first != len(counted):
        return
    (total,) = sizes
    step = 1 if symbolic else source.batch
    stop = min(total, 3 if symbolic else total)
    if total != step:
        for at in range(0, stop - step + 1, step):
            yield {n: a[at : at + step] if n in counted else a for n, a in rows.items()}


def _worst(got: Arrays, want: Arrays) -> Compared:
    """Return the largest difference between outputs, relative to each one's magnitude."""
    found = [Compared(_apart(got[n], want[n]), n, 0) for n in want]
    return max(found)


def _apart(got: NDArray[Any], want: NDArray[Any]) -> float:
    if got.shape != want.shape or got.dtype != want.dtype:
        return float("inf")
    if want.dtype.kind != "f" or not want.size:
        return float(np.mean(got != want)) if want.size else 0.0
    a, b = got.astype(np.float64), want.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(all="ignore"):
        gap = np.where(same, 0.0, np.abs(a - b))
    scale = np.abs(b[np.isfinite(b)]).max(initial=0.0)
    worst = gap.max() / (scale or 1.0)
    return float("inf") if np.isnan(worst) else float(worst)
