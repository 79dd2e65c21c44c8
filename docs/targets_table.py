"""Write docs/targets.md: for each primitive, where it runs, from the exporters' own tables.

`python docs/targets_table.py` rewrites it; the tests check that it is what would be written.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tenor.compiler.emit.wgsl import CARRIED
from tenor.compiler.emit.wgsl import MISSING as NO_SHADER
from tenor.export.edge import TARGETS, unsupported
from tenor.export.onnx.table import MISSING as NO_ONNX
from tenor.export.tflite.rows import MISSING as NO_TFLITE
from tenor.export.web.bundle import LACKS
from tenor.ir import dtype as dt
from tenor.ir.op import OPS, Op

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["COLUMNS", "PAGE", "Column", "page", "row"]

PAGE = Path(__file__).resolve().parent / "targets.md"
HEAD = """\
# What runs where

<!-- Written by docs/targets_table.py from the exporters' tables: change those, and run it. -->

Every operation of a model becomes some of the primitives below. `yes`: an exported model may use \
it; `no`: exporting a model that does is refused before anything is written, and the error says \
which operation, where in the model, and what to use instead. Single uses of an operation that is \
there may be refused the same way (a dtype the other runtime has not, say). A saved model holds \
neither `scalar` nor `random_bits`: `save` asks for them as inputs. A number leads to a note under \
the table."""


class Column(NamedTuple):
    """A form of export.

    Attributes:
        name: What it is called.
        missing: The primitives it has no form for: why, and what to use instead.
        note: What holds for all of its primitives; "" where nothing does.
        notes: What holds for some, by primitive.
    """

    name: str
    missing: Mapping[str, tuple[str, str]]
    note: str
    notes: Callable[[str], list[str]] = lambda _: []


def _machines(primitive: str) -> list[str]:
    """Return what machines leave out of a primitive."""
    found = {name: unsupported(name).get(primitive) for name in TARGETS}
    return [f"`{name}`: {reason}; the error says what to use" for name, reason in found.items()
            if reason]  # fmt: skip


def _names(dtypes: list[dt.DType]) -> str:
    return ", ".join(d.name for d in dtypes)


COLUMNS = (
    Column("object code", {}, f"For {', '.join(f'`{name}`' for name in TARGETS)}.", _machines),
    Column("C99", {}, "In every dtype."),
    Column("WebAssembly", {}, f"In every dtype but {_names(list(LACKS))}."),
    Column("WebGPU", NO_SHADER,
           f"In every dtype but {_names([d for d in dt.ALL if d not in CARRIED])}; integers "
           "are to fit in 32 bits."),
    Column("ONNX", NO_ONNX, "In the dtypes that ONNX Runtime computes it in."),
    Column("TFLite", NO_TFLITE, "In the dtypes that LiteRT computes it in."),
)  # fmt: skip


class _Notes:
    """Notes, numbered in the order they are first used."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def mark(self, texts: list[str]) -> str:
        """Return the numbers of notes."""
        for text in texts:
            if text not in self.texts:
                self.texts.append(text)
        return "".join(f"<sup>{self.texts.index(text) + 1}</sup>" for text in texts)


def _told(text: str) -> str:
    return text.replace("|", r"\|")


def row(primitive: Op, notes: _Notes) -> str:
    """Return a primitive's row."""
    name = primitive.name
    cells = ["no" if name in c.missing else f"yes{notes.mark(c.notes(name))}" for c in COLUMNS]
    return f"| `{name}` | {_told(primitive.meaning)} | {' | '.join(cells)} |"


def _missing(column: Column) -> list[str]:
    """Return what a form lacks, and what to use instead."""
    if not column.missing:
        return []
    rows = [f"| `{name}` | {_told(why.rstrip('.'))} | {_told(instead)} |"
            for name, (why, instead) in column.missing.items()]  # fmt: skip
    return [f"## Not in {column.name}", "", "| primitive | why | instead |", "|---|---|---|",
            *rows, ""]  # fmt: skip


def page() -> str:
    """Return the page."""
    notes = _Notes()
    names = [f"{c.name}{notes.mark([c.note] if c.note else [])}" for c in COLUMNS]
    lines = [HEAD, "", f"| primitive | what it computes | {' | '.join(names)} |",
             "|---" * (2 + len(COLUMNS)) + "|"]  # fmt: skip
    lines += [row(primitive, notes) for primitive in OPS.values()]
    lines += ["", *(f"{i}. {text}" for i, text in enumerate(notes.texts, 1)), ""]
    for column in COLUMNS:
        lines += _missing(column)
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
