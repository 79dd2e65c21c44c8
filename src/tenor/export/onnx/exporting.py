"""The export itself: read, write, run, compare, put in place."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tenor.errors import ArgumentError, ExportError, SaveError
from tenor.export.fold import folded
from tenor.export.onnx import file
from tenor.export.onnx.check import Compared, compared
from tenor.export.onnx.model import Written, write_graph
from tenor.export.onnx.sizes import SizesDiffer, aligned
from tenor.export.quantize.moving import moved
from tenor.export.source import opened, source_of
from tenor.ir import dtype as dt
from tenor.save import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tenor.export.onnx.file import Packed
    from tenor.export.quantize.record import Quantization, Scheme
    from tenor.export.source import Source
    from tenor.ir.node import Node
    from tenor.save.loaded import LoadedModel

__all__ = ["OPSETS", "Exported", "export_onnx"]

OPSETS: Final = range(17, 22)
DEFAULT: Final = 18
"""The first opset with bitwise operations, and with the dims of every reduction as inputs."""
TOLERANCES: Final = {dt.bfloat16: 5e-2, dt.float16: 5e-3}
TOLERANCE: Final = 1e-4


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The file.
        nodes: How many ONNX nodes it has.
        opset: The version of ONNX' operations it uses.
        batch: The batch: a size, or a symbol's name where any size will do; 0: it has none.
        difference: The worst difference from the saved model's answers, relative to an output's
            largest magnitude (for integers, the share that differs); None where nothing was run.
        rows: How many example rows were run.
        checked: "onnxruntime", or "onnx.checker" where the model was not run.
    """

    path: Path
    nodes: int
    opset: int
    batch: int | str
    difference: float | None
    rows: int
    checked: str


def export_onnx(
    model: Any, path: str | os.PathLike[str], *, example_inputs: Any = None,
    signature: str | None = None, batch: int = 1, quantization: Quantization | None = None,
    opset: int = DEFAULT,
) -> Exported:  # fmt: skip
    """Write a model as an ONNX file.

    A batch that is symbolic in the signature stays so where the program allows it; otherwise it
    is fixed at `batch`. Inputs and outputs have the signature's names. Weights of more than 2 GB
    go to a file beside it. Where ONNX Runtime is installed, the model is run on the example rows
    before it takes its place, and must agree; an eight-bit one need not, the error is reported.

    Args:
        model: A bundle's path, a loaded model, or a module.
        path: Where to.
        example_inputs: What a module is recorded on, as for `save`.
        signature: What is written; by default "predict", or the only one.
        batch: The batch where it has to be fixed.
        quantization: How values are held in eight bits: writes a QDQ model.
        opset: The version of ONNX' operations, 17 to 21.

    Raises:
        ArgumentError: An argument out of its domain.
        ExportError: An operation has no ONNX form, what was written does not agree, or the onnx
            package is missing.
        SaveError: The system could not write; what stood there before still stands.

    Example:
        >>> import tenor as tn, tempfile
        >>> from tenor.export.onnx import export_onnx
        >>> path = tempfile.mkdtemp() + "/model.onnx"
        >>> model = tn.nn.Sequential(tn.nn.Linear(4, 8), tn.nn.ReLU(), tn.nn.Linear(8, 2)).eval()
        >>> made = export_onnx(model, path, example_inputs=tn.ones(3, 4))  # doctest: +SKIP
        >>> made.nodes, made.batch  # doctest: +SKIP
        (3, 'batch')
    """
    target = Path(os.path.realpath(path))
    _check(batch, opset, target)
    file.library()
    loaded = opened(model, example_inputs)
    written = _written(loaded, signature, batch, quantization, opset)
    pack = file.packed(written, target.name, largest=file.LARGEST)
    place = _place_two if pack.beside else _place_one
    with _checked(written.source):
        found = place(loaded, written, pack, target, exact=quantization is None)
    sizes = written.writer.sizes
    return Exported(
        path=Path(path),
        nodes=len(pack.proto.graph.node),
        opset=opset,
        batch=sizes.symbol or written.source.batch,
        difference=found.difference if found.rows else None,
        rows=found.rows,
        checked="onnxruntime" if found.rows else "onnx.checker",
    )


def _check(batch: int, opset: int, target: Path) -> None:
    if opset not in OPSETS:
        raise ArgumentError(
            f"export_onnx: opset must lie in [{OPSETS[0]}, {OPSETS[-1]}].",
            came=str(opset),
            fix=f"leave it out for {DEFAULT}",
        )
    if batch < 1:
        raise ArgumentError("export_onnx: batch must be at least 1.", came=str(batch))
    if not target.parent.is_dir():
        raise ArgumentError(
            "export_onnx: path must be in a directory that exists.",
            came=str(target),
            fix="make the directory first",
        )


# -- the graph --------------------------------------------------------------------------------
def _written(
    loaded: LoadedModel, signature: str | None, batch: int, quantization: Quantization | None,
    opset: int,
) -> Written:  # fmt: skip
    """Return the graph with its batch left open, or at a fixed one."""
    if quantization is not None:
        signature = signature or quantization.source.signature
    try:
        symbol = _symbol(loaded, signature)
        source, schemes = _source(loaded, signature, max(batch, 3), quantization)
        other, _ = _source(loaded, signature, source.batch + 2, quantization)
        sizes = aligned(source, other, symbol)
        return write_graph(source, opset=opset, sizes=sizes, schemes=schemes)
    except SizesDiffer:
        source, schemes = _source(loaded, signature, batch, quantization)
        return write_graph(source, opset=opset, schemes=schemes)


def _source(
    loaded: LoadedModel, signature: str | None, batch: int, quantization: Quantization | None
) -> tuple[Source, dict[Node, Scheme] | None]:
    """Return what is written at a batch size, and how its values are held in eight bits."""
    source = folded(source_of(loaded, signature, batch=batch))
    if quantization is None:
        return source, None
    found = moved(quantization, source)
    return found.source, found.schemes


def _symbol(loaded: LoadedModel, signature: str | None) -> str:
    """Return the name of the size that varies.

    Raises:
        SizesDiffer: There is none, or there are several.
    """
    symbols = loaded.signature(signature).symbols
    if len(symbols) != 1:
        raise SizesDiffer
    return symbols[0]


@contextlib.contextmanager
def _checked(source: Source) -> Iterator[None]:
    """Say of which model onnx.checker complains."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.split(".")[0] != "onnx":
            raise
        raise ExportError(
            f"onnx: onnx.checker must take {source.name!r} as it was written.",
            came=str(error)[:500],
            fix="report this with the model; nothing was written",
        ) from error


# -- the file ---------------------------------------------------------------------------------
def _place_one(
    loaded: LoadedModel, written: Written, pack: Packed, target: Path, *, exact: bool
) -> Compared:
    """Check the model in memory, and put it in place."""
    file.library().checker.check_model(pack.proto, full_check=True)
    held = pack.proto.SerializeToString()
    found = _agreeing(loaded, written, held, exact=exact)
    replace_file(target, [held])
    return found


def _place_two(
    loaded: LoadedModel, written: Written, pack: Packed, target: Path, *, exact: bool
) -> Compared:
    """Check a model and its weights in a folder beside the target, and put both in place."""
    with _explained(target), tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as folder:
        model, weights = Path(folder) / target.name, Path(folder) / pack.beside
        replace_file(weights, pack.chunks())
        replace_file(model, [pack.proto.SerializeToString()])
        file.library().checker.check_model(str(model))
        found = _agreeing(loaded, written, model, exact=exact)
        weights.replace(target.with_name(pack.beside))  # before the model that asks for it
        replace_file(target, [model.read_bytes()])
    return found


@contextlib.contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except SaveError:
        raise
    except OSError as error:
        raise SaveError(
            f"export_onnx: {str(target)!r} must be writable.",
            came=error.strerror or str(error),
            fix="make room or choose another place; what stood there before still stands",
        ) from error


def _agreeing(
    loaded: LoadedModel, written: Written, model: bytes | Path, *, exact: bool
) -> Compared:
    """Run what was written; refuse it where floats do not agree."""
    source = written.source
    found = compared(loaded, source, model, symbolic=bool(written.writer.sizes.symbol))
    held = {node.dtype for node in source.graph.nodes}
    room = max((TOLERANCES.get(dtype, TOLERANCE) for dtype in held), default=TOLERANCE)
    if exact and not found.difference <= room:
        raise ExportError(
            f"onnx: what ONNX Runtime answers must agree with {source.name!r} within {room:g}.",
            came=f"output {found.output!r} differs by {found.difference:.2e} of its magnitude",
            fix="report this with the model; nothing was written",
        )
    return found
