"""The summary of a model: its layers, their outputs' shapes, their parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenor.engine.handle import Handle
from tenor.tensor.modes import no_grad

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.nn.module import Module

__all__ = ["Row", "Summary", "summarize"]


@dataclass
class Row:
    """One layer.

    Attributes:
        path: Where it is in the model.
        kind: Its class's name.
        shape: Its output's shape, or what is known of it.
        parameters: How many numbers of its own are trained or frozen.
    """

    path: str
    kind: str
    shape: str
    parameters: int


@dataclass
class Summary:
    """The layers of a model and what they sum to.

    Attributes:
        name: The model's class.
        rows: The layers, in the order of the modules.
        trainable: How many numbers are trained.
        frozen: How many are not.
        buffers: How many numbers of state are neither.
        nbytes: The bytes of all of them.
    """

    name: str
    rows: list[Row]
    trainable: int
    frozen: int
    buffers: int
    nbytes: int

    @property
    def total(self) -> int:
        """The number of parameters."""
        return self.trainable + self.frozen

    def totals(self) -> list[str]:
        """Return the sums, one a line."""
        return [
            f"Total params: {self.total:,} ({_bytes(self.nbytes)})",
            f"Trainable params: {self.trainable:,}",
            f"Non-trainable params: {self.frozen:,}",
            *([f"Buffers: {self.buffers:,}"] if self.buffers else []),
        ]

    def text(self) -> str:
        """Return the summary as a table."""
        head = ("Layer (type)", "Output shape", "Param #")
        cells = [(f"{r.path} ({r.kind})", r.shape, f"{r.parameters:,}") for r in self.rows]
        widths = [max(len(line[i]) for line in (head, *cells)) for i in range(3)]
        rule = "─" * (sum(widths) + 6)
        lines = [
            f"{a:<{widths[0]}}   {b:<{widths[1]}}   {c:>{widths[2]}}" for a, b, c in (head, *cells)
        ]
        return "\n".join(
            [f'Model: "{self.name}"', lines[0], rule, *lines[1:], rule, *self.totals()]
        )


def summarize(
    module: Module, run: Callable[[], Any] | None = None, batch: int | None = None
) -> Summary:
    """Return a module's summary.

    Args:
        module: The module.
        run: Calls it once, so that the shapes become known; recorded and never computed.
        batch: The extent to call "batch" where it comes first.
    """
    shapes: dict[int, str] = {}
    if run is not None:
        removers = [m.register_forward_hook(_noting(shapes, batch)) for m in module.modules()]
        try:
            with no_grad():
                run()
        finally:
            for remover in removers:
                remover.remove()
    rows = []
    for path, layer in module.named_modules():
        own = [p.numel() for p in layer.parameters(recurse=False)]
        leaf = next(layer.children(), None) is None
        if leaf or own:
            shape = shapes.get(id(layer), "?")
            rows.append(Row(path or "(itself)", type(layer).__name__, shape, sum(own)))
    parameters = list(module.parameters())
    buffers = list(module.buffers())
    return Summary(
        type(module).__name__,
        rows,
        sum(p.numel() for p in parameters if p.requires_grad),
        sum(p.numel() for p in parameters if not p.requires_grad),
        sum(b.numel() for b in buffers),
        sum(t.nbytes for t in (*parameters, *buffers)),
    )


def _noting(shapes: dict[int, str], batch: int | None) -> Callable[..., None]:
    def note(layer: Any, args: Any, output: Any) -> None:
        del args
        shapes[id(layer)] = _shape(output, batch)

    return note


def _shape(output: Any, batch: int | None) -> str:
    if isinstance(output, Handle):
        extents = [str(n) for n in output.shape_tuple]
        if output.shape_tuple[:1] == (batch,):
            extents[0] = "batch"
        return f"({', '.join(extents)}{',' if len(extents) == 1 else ''})"
    if isinstance(output, (tuple, list)):
        return ", ".join(_shape(part, batch) for part in output)
    if isinstance(output, dict):
        return ", ".join(f"{name} {_shape(part, batch)}" for name, part in output.items())
    return type(output).__name__


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            return f"{count:.2f} {unit}" if unit != "B" else f"{int(count)} B"
        count /= 1024
    return ""
