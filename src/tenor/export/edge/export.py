"""Write a model for a machine: its code, its header, its weights."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.compiler.emit import c
from tenor.compiler.schedule.memory import ALIGN
from tenor.errors import ArgumentError, SaveError
from tenor.export.contents import contents
from tenor.export.edge import library
from tenor.export.edge.code import code_of
from tenor.export.edge.header import Names, array_text, header_text
from tenor.export.edge.support import refuse
from tenor.export.edge.targets import machinery
from tenor.export.fold import folded
from tenor.export.machine import machine_of
from tenor.export.quantize.integer import integer
from tenor.export.quantize.moving import moved
from tenor.export.source import opened, source_of
from tenor.ir.target import Target
from tenor.save import replace_file

if TYPE_CHECKING:
    import os

    from tenor.export.edge.targets import Machinery
    from tenor.export.machine import Machine
    from tenor.export.quantize.record import Quantization
    from tenor.export.source import Source

__all__ = ["Exported", "export_edge", "written"]

FORMS: Final = ("object", "c", "shared")
WEIGHTS: Final = ("bin", "array")
PORTABLE: Final = Target("riscv64-unknown-none-elf", "", "", 32, 16, has_fma=False)
"""What C99 is lowered for: no vectors, no dot products, and pointers of at most 8 bytes."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        name: The model's name in C; `<name>_run` is the function.
        target: The machine; "c99" for a C file.
        form: "object", "c" or "shared".
        files: The files.
        code: Bytes of instructions and the constants among them; 0 for a C file.
        weights: Bytes of the weights.
        workspace: Bytes of memory a call works in.
    """

    name: str
    target: str
    form: str
    files: tuple[Path, ...]
    code: int
    weights: int
    workspace: int


def export_edge(
    model: Any,
    folder: str | os.PathLike[str],
    *,
    target: str = "x86_64-linux",
    form: str = "object",
    weights: str = "bin",
    example_inputs: Any = None,
    signature: str | None = None,
    batch: int = 1,
    quantization: Quantization | None = None,
) -> Exported:
    """Write a model as code that needs no library, into a folder.

    `<name>.h` says how it is called, with an example that is a whole program. Beside it are
    `<name>.o`, `<name>.c` or `lib<name>.so`, and `<name>_weights.bin` or `<name>_weights.h`.

    Args:
        model: A bundle's path, a loaded model, or a module.
        folder: Where the files go; it is made.
        target: A name in `tenor.export.edge.TARGETS`, or "native" for this machine's own
            processor. A C file is for any.
        form: "object"; "c" for one portable C99 file; "shared" for a library that programs load.
        weights: "bin" for a file of bytes, "array" for a C header.
        example_inputs: What a module is recorded on, as for `save`.
        signature: The signature; the only one may be left out.
        batch: The size of dims that were left open.
        quantization: How values are held in eight bits: convolutions and products then compute
            with bytes; inputs and outputs stay as they are.

    Raises:
        ArgumentError: An argument is none of the above.
        ExportError: The machine has no instructions for an operation. Nothing is written.
        SaveError: A file could not be written.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> import tenor as tn
        >>> from tenor.export.edge import export_edge
        >>> folder = tempfile.mkdtemp()
        >>> x = np.zeros((1, 4), np.float32)
        >>> model = tn.nn.Linear(4, 2)
        >>> made = export_edge(model, folder, target="cortex-m4", example_inputs=x)
        >>> [file.name for file in made.files]
        ['linear.h', 'linear.o', 'linear_weights.bin']
    """
    for what, value, known in (("form", form, FORMS), ("weights", weights, WEIGHTS)):
        if value not in known:
            raise ArgumentError(
                f"export: {what} must be one of {', '.join(map(repr, known))}.", came=repr(value)
            )
    row = machinery(target)
    source = folded(source_of(opened(model, example_inputs), signature, batch=batch))
    return written(source, Path(folder), row, form=form, weights=weights, quantization=quantization)


def written(
    source: Source, folder: Path, row: Machinery, *, form: str = "object", weights: str = "bin",
    quantization: Quantization | None = None,
) -> Exported:  # fmt: skip
    """Write a folded source as `export_edge` does.

    Raises:
        ArgumentError, ExportError, SaveError: As `export_edge` does.
    """
    if quantization is not None:
        source = integer(moved(quantization, source))
    if form != "c":
        refuse(source, row)
    machine = _padded(machine_of(source, PORTABLE if form == "c" else row.target))
    names = Names.of(machine)
    stem = names.stem
    suffix = "h" if weights == "array" else "bin"
    about = "any machine with a C99 compiler" if form == "c" else f"{row.name}: {row.about}"
    files = {f"{stem}.h": header_text(machine, names, about, f"{stem}_weights.{suffix}").encode()}
    made, code = _code(machine, names, row, form)
    files |= made
    held = array_text(names, machine.weights).encode() if weights == "array" else None
    files[f"{stem}_weights.{suffix}"] = machine.weights.tobytes() if held is None else held
    where = "c99" if form == "c" else row.name
    placed = _placed(folder, files)
    return Exported(stem, where, form, placed, code, machine.weights.size, machine.workspace)


def _padded(machine: Machine) -> Machine:
    """Return a machine with weights that a C array can hold: there is none of no bytes."""
    if machine.weights.size:
        return machine
    return replace(machine, weights=np.zeros(ALIGN, np.uint8))


def _code(
    machine: Machine, names: Names, row: Machinery, form: str
) -> tuple[dict[str, bytes], int]:
    """Return the files of code, and their bytes of instructions and constants."""
    if form == "c":
        given = [f"(t_byte *){p}" for p in ("weights", "inputs", "outputs", "workspace")]
        text = c.emit(machine.whole.function, f"{names.stem}_all", names.signature, given)
        return {f"{names.stem}.c": f'#include "{names.stem}.h"\n{text}'.encode()}, 0
    data = code_of(machine, row, names.symbol, reloc="pic" if form == "shared" else row.reloc)
    found = contents(data)
    size = found.code + found.constants
    if form == "object":
        return {f"{names.stem}.o": data}, size
    made = library.linked(data, row, names.stem, names.symbol)
    return {f"lib{names.stem}{library.suffix(row)}": made}, size


def _placed(folder: Path, files: dict[str, bytes]) -> tuple[Path, ...]:
    """Put files in place, each whole."""
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(
            f"export: {str(folder)!r} must be a folder that can be written to.",
            came=error.strerror or str(error),
        ) from error
    try:
        for name, data in files.items():
            replace_file(folder / name, [data])
    except BaseException:
        if made:
            with suppress(OSError):
                folder.rmdir()
        raise
    return tuple(folder / name for name in files)
