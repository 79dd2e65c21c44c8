"""A saved program as a module: what it does is recorded again, so that it can be trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tenor.engine.trace import record
from tenor.export.source import source_of
from tenor.ir import op as ops
from tenor.nn import Module, Parameter
from tenor.tensor import tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tenor.save import LoadedModel
    from tenor.tensor import Tensor

__all__ = ["Replayed"]

STATISTICS: Final = ("running_mean", "running_var", "num_batches_tracked")
"""What a norm counts, and no optimizer writes."""


class Replayed(Module):
    """A loaded model's program at one batch size, with its weights as parameters.

    Args:
        model: The model.
        batch: The size of its symbolic dims.
        signature: What is asked; by default "predict", or the only one.
    """

    def __init__(self, model: LoadedModel, batch: int, signature: str | None = None) -> None:
        super().__init__()
        self.source = source_of(model, signature, batch=batch)
        self.held: dict[str, Tensor] = {}
        for name, array in self.source.weights.items():
            value = tensor(array)
            free = value.is_floating_point() and not name.startswith("_constant.")
            counted = name.rpartition(".")[2] in STATISTICS
            self.held[name] = Parameter(value) if free and not counted else value

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, Parameter]]:
        """Yield the weights that are trained, by the names they were saved under."""
        del args, kwargs
        yield from ((n, v) for n, v in self.held.items() if isinstance(v, Parameter))

    def named_buffers(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, Tensor]]:
        """Yield the other weights."""
        del args, kwargs
        yield from ((n, v) for n, v in self.held.items() if not isinstance(v, Parameter))

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the weights that are trained."""
        del recurse
        yield from (value for _, value in self.named_parameters())

    def forward(self, *inputs: Any) -> Any:
        """Record the program on inputs of its batch size; return its output, or a dict of them."""
        source = self.source
        values: dict[Any, Any] = dict(zip(source.inputs.values(), inputs, strict=True))
        values |= dict(zip(source.leaves.values(), self.held.values(), strict=True))
        for node in source.graph.nodes:
            if node.op is not ops.LEAF:
                values[node] = record(node.op, tuple(values[x] for x in node.inputs), node.attrs)
        found = {name: values[node] for name, node in source.outputs.items()}
        return next(iter(found.values())) if len(found) == 1 else found
