"""What is exported: one signature of a model at fixed sizes, as a graph and arrays."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenor.errors import ArgumentError
from tenor.ir import op as ops
from tenor.save import load_model, save_model
from tenor.save.loaded import LoadedModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tenor.ir.node import Graph, Node

    Array = NDArray[np.generic]

__all__ = ["Source", "opened", "source_of"]


@dataclass(frozen=True)
class Source:
    """One signature of a model at fixed sizes.

    The graph's leaves are the inputs and then the weights, in the order of the two dicts.

    Attributes:
        name: The model's name.
        signature: The signature's name.
        graph: What is computed; it has no run-time numbers and draws no random ones.
        inputs: Each input's leaf, by name.
        weights: Each weight's array, by name. bfloat16 is held as uint16 bits.
        outputs: Each output's node, by name.
        rows: Example inputs, by name, with as many rows as the bundle holds; empty without any.
        answers: What the saved model answers to them, by the outputs' names.
        batch: The size that symbolic dims have here; 0 where the signature has none.
    """

    name: str
    signature: str
    graph: Graph
    inputs: dict[str, Node]
    weights: dict[str, Array]
    outputs: dict[str, Node]
    rows: dict[str, Array]
    answers: dict[str, Array]
    batch: int

    @property
    def leaves(self) -> dict[str, Node]:
        """Each weight's leaf, by name."""
        found = [node for node in self.graph.nodes if node.op is ops.LEAF]
        return dict(zip(self.weights, found[len(self.inputs) :], strict=True))

    def where(self, node: Node) -> str:
        """Return where an operation stands, for people: its number, and the weights before it."""
        nodes = list(self.graph.nodes)
        names = {leaf: name for name, leaf in self.leaves.items()}
        seen, near = {node}, [node]
        for x in near:  # nearest first: the list grows as it is read
            if x in names:
                break
            near += [y for y in x.inputs if y not in seen]
            seen.update(x.inputs)
        weight = next((names[x] for x in near if x in names), None)
        place = f"operation {nodes.index(node) + 1} of {len(nodes)} in {self.signature!r}"
        return place if weight is None else f"{place}, after the weight {weight!r}"


def opened(model: Any, example_inputs: Any = None, **saving: Any) -> LoadedModel:
    """Return a model as `load` gives it.

    Args:
        model: A bundle's path, a loaded model, or a module.
        example_inputs: What a module is recorded on, as for `save`.
        saving: Further arguments of `save`.

    Raises:
        ArgumentError: A module without example inputs, or example inputs for a saved model.
    """
    if isinstance(model, LoadedModel):
        return model
    if isinstance(model, (str, Path)) or hasattr(model, "__fspath__"):
        return load_model(model)
    if example_inputs is None:
        raise ArgumentError(
            "export: a module is exported with example_inputs.",
            came=type(model).__name__,
            fix="give example_inputs=..., or save the model and give the .tnr file",
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{type(model).__name__}.tnr"
        save_model(model, path, example_inputs=example_inputs, **saving)
        return load_model(path)


def source_of(model: LoadedModel, signature: str | None = None, *, batch: int = 1) -> Source:
    """Return a signature at fixed sizes: every symbolic dim has the size `batch`.

    Raises:
        ArgumentError: There is no such signature.
        ShapeError: The program cannot be run at this size.
    """
    found = model.signature(signature)
    graph, weights = model.graph(found.name, dict.fromkeys(found.symbols, batch))
    leaves = [node for node in graph.nodes if node.op is ops.LEAF]
    example = model.examples.get(found.name)
    return Source(
        name=model.name,
        signature=found.name,
        graph=graph,
        inputs=dict(zip((spec.name for spec in found.inputs), leaves, strict=False)),
        weights=dict(weights),
        outputs=dict(zip((spec.name for spec in found.outputs), graph.outputs, strict=True)),
        rows=dict(example.inputs) if example else {},
        answers=dict(example.outputs) if example else {},
        batch=batch if found.symbols else 0,
    )
