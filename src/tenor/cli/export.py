"""`tenor export`: a saved model as files that run without Tenor."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

from tenor.cli.console import err, missing, not_installed, out, spelt
from tenor.cli.eight_bits import calibrated
from tenor.errors import ArgumentError
from tenor.explain.units import bytes_text
from tenor.export import edge, onnx, quantize, tflite, web
from tenor.save import load_model, replace_file
from tenor.train.objective import loss_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.export.quantize import Quantization
    from tenor.save import LoadedModel

__all__ = ["Wishes", "export"]


@dataclass(frozen=True)
class Wishes:
    """What the options asked for; None where one was not given.

    Attributes:
        to: "web", "edge", "onnx" or "tflite".
        signature, batch: What of the model, for how many rows at a time.
        target, form: The machine, and "object", "c" or "shared".
        weights: How weights are held, in the words of each form.
        gpu: Whether it runs on WebGPU too.
        train, loss, optimizer, lr: Whether the training step goes with it, and how it trains.
        int8: How ranges are found for eight bits.
        rows: A file of rows to find them with; by default the model's own examples.
        report: Where the report of what eight bits cost is written.
    """

    to: str
    signature: str | None = None
    batch: int | None = None
    target: str | None = None
    form: str | None = None
    weights: str | None = None
    gpu: bool | None = None
    train: bool | None = None
    loss: str | None = None
    optimizer: str | None = None
    lr: float | None = None
    int8: str | None = None
    rows: str | None = None
    report: Path | None = None


def export(path: Path, to: Path | None, wishes: Wishes) -> int:
    """Write a model's files, and say what they are."""
    _check(wishes)
    writer = WRITERS[wishes.to]
    lacking = missing(writer.needs)
    if lacking:
        not_installed(lacking)
        return 1
    model = load_model(path)
    options = {
        name: getattr(wishes, name)
        for name in writer.takes
        if name not in ASIDE and getattr(wishes, name) is not None
    }
    if wishes.int8 is not None:
        options["quantization"] = _quantized(model, wishes)
    if "loss" in options:
        options["loss"] = loss_of(options["loss"])
    made = writer.write(model, to or path.with_name(path.stem + writer.suffix), **options)
    _say(made)
    return 0


# -- what goes with what ------------------------------------------------------------------------
@dataclass(frozen=True)
class Writer:
    """A kind of export.

    Attributes:
        write: The function.
        suffix: What its file or folder is called after the model's name.
        takes: The options it knows.
        needs: The extras it uses.
    """

    write: Callable[..., Any]
    suffix: str
    takes: tuple[str, ...]
    needs: tuple[str, ...] = ()


ALL: Final = ("to", "signature", "batch")
ASIDE: Final = ("to", "int8", "rows", "report")
EIGHT: Final = ("int8", "rows", "report")
TRAINING: Final = ("train", "loss", "optimizer", "lr")
WRITERS: Final = {
    "web": Writer(web.export_web, "_web", (*ALL, "weights", "gpu", *TRAINING, *EIGHT)),
    "edge": Writer(edge.export_edge, "_edge", (*ALL, "target", "form", "weights", *EIGHT)),
    "onnx": Writer(onnx.export_onnx, ".onnx", (*ALL, *EIGHT), ("onnx",)),
    "tflite": Writer(tflite.export_tflite, ".tflite", (*ALL, "weights", *EIGHT), ("tflite",)),
}
"""Each kind of export."""


def _check(wishes: Wishes) -> None:
    """Refuse options that say nothing for what is written."""
    takes = WRITERS[wishes.to].takes
    given = [f.name for f in fields(wishes) if getattr(wishes, f.name) not in (None, False)]
    odd = [name for name in given if name not in takes]
    lone = [name for name in ("rows", "report") if name in given and wishes.int8 is None]
    if odd or lone:
        raise ArgumentError(
            f"export: options that --to {wishes.to} knows.",
            came=", ".join(f"--{name}" for name in odd or lone),
            fix="leave them out" if odd else "give --int8 as well",
        )


def _quantized(model: LoadedModel, wishes: Wishes) -> Quantization:
    """Find the ranges of a model's values on rows; say and write what eight bits cost."""
    assert wishes.int8 is not None
    found = calibrated(model, wishes.int8, signature=wishes.signature, rows=wishes.rows)
    told = quantize.report(found.quantization, found.rows)
    err.print(told.text(12), markup=False, soft_wrap=True)
    if wishes.report is not None:
        replace_file(wishes.report, [told.html().encode()])
        err.print(f"wrote {wishes.report}", markup=False)
    return found.quantization


# -- what is said -------------------------------------------------------------------------------
def _say(made: Any) -> None:
    """Show what was written: files and their sizes, and what is known of them."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="dim")
    table.add_column(overflow="fold")
    for name, text in _told(made):
        table.add_row(name, Text(spelt(text)))
    out.print(table)


def _told(made: Any) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for field in fields(made):
        value = getattr(made, field.name)
        name = field.name.replace("_", " ")
        if field.name in SIZES:
            rows.append((name, bytes_text(value)))
        elif field.name == "files":
            rows += _files(value)
        elif field.name == "difference":
            rows.append(("checked", _checked(value, made.rows)))
        elif isinstance(value, dict):
            rows.append((name, ", ".join(f"{count} {what}" for what, count in value.items())))
        elif field.name not in ("rows", "checked"):
            rows.append((name, str(value)))
    return rows


SIZES: Final = ("bytes", "code", "workspace", "weights")


def _files(files: Any) -> list[tuple[str, str]]:
    """Return a line a file."""
    if isinstance(files, dict):
        return [("", f"{name}  {bytes_text(size)}") for name, size in files.items()]
    return [("", f"{Path(file).name}  {bytes_text(Path(file).stat().st_size)}") for file in files]


def _checked(difference: float | None, rows: int) -> str:
    if difference is None:
        return "not run: the runtime is not installed, or the model has no examples"
    return f"{rows} example rows in the stock runtime, {difference:.2g} from Tenor at most"
