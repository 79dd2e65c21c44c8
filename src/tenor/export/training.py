"""A whole training step for another machine: forward, backward and the optimizer's writes.

The step is recorded as `tn.compile` records one, on a copy of the model. Its weights and what the
optimizer keeps are the *state*: one piece of memory that the step writes over, and that the
model's answers are computed from.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.compiler.schedule.memory import room_of
from tenor.compiler.whole import whole
from tenor.engine.handle import Handle
from tenor.engine.pin import At, Compiled
from tenor.errors import ArgumentError
from tenor.export.machine import Machine, laid_out
from tenor.export.numbers import Number, numbers_of
from tenor.export.replay import Replayed
from tenor.export.source import Source, source_of
from tenor.ir import op as ops
from tenor.ir.node import Graph
from tenor.nn import functional
from tenor.save import LoadedModel
from tenor.tensor import get_rng_state, manual_seed, set_rng_state, tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tenor.engine.pin import Pin
    from tenor.ir.node import Node
    from tenor.ir.target import Target
    from tenor.nn import Module
    from tenor.optim import Optimizer

    Array = NDArray[Any]

__all__ = ["Trainable", "Training", "example_targets", "trainable_of", "training_of"]

UNPREPARED: Final = frozenset(("prepare",))
"""Weights that change are packed in every run."""


_CLASSES: Final = "cross_entropy nll_loss CrossEntropyLoss NLLLoss"
_ALIKE: Final = (
    "mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy"
    " binary_cross_entropy_with_logits poisson_nll_loss kl_div soft_margin_loss"
    " hinge_embedding_loss MSELoss L1Loss SmoothL1Loss HuberLoss BCELoss BCEWithLogitsLoss"
    " PoissonNLLLoss KLDivLoss SoftMarginLoss HingeEmbeddingLoss"
)
TARGETS: Final = {
    **dict.fromkeys(_CLASSES.split(), "classes"), **dict.fromkeys(_ALIKE.split(), "alike"),
}  # fmt: skip
"""What the losses of `nn` take as targets: classes, or numbers in the shape of the outputs."""


@dataclass(frozen=True)
class Training:
    """A training step as a graph.

    Attributes:
        step: Its inputs are the model's and the targets; its outputs the loss and then the new
            state; its weights the state, by name, as it is before the first step.
        numbers: What it is given besides, one slot each.
        lr: The optimizer's learning rate.
        targets: The names of the inputs that are targets.
        weights: The names in the state that are the model's, as `load_state_dict` takes them.
    """

    step: Source
    numbers: list[Number]
    lr: float
    targets: tuple[str, ...]
    weights: tuple[str, ...]


@dataclass(frozen=True)
class Trainable:
    """A model and its training step for one machine, over one state.

    Attributes:
        predict: Answers; its weights are the state.
        train: The step: it writes the state. The last of its inputs is the table of numbers,
            eight bytes each.
        training: What the step was made from.
        places: Where each tensor of the state lies, in bytes, by name.
    """

    predict: Machine
    train: Machine
    training: Training
    places: dict[str, int]


def training_of(
    model: Module | LoadedModel,
    inputs: Any,
    targets: Any,
    *,
    loss: str | Callable[..., Any] = "cross_entropy",
    optimizer: str | Callable[..., Optimizer] = "adam",
    lr: float = 1e-3,
    batch: int = 8,
    seed: int = 0,
) -> Training:
    """Return one step of training as a graph.

    Args:
        model: A module, which is trained in training mode, or a loaded model: its program is
            trained as it stands (norms keep their statistics, and nothing is dropped out).
        inputs: Example inputs, an array or a tuple of them.
        targets: Example targets, likewise; a dict of them is one argument of the loss.
        loss: A function of the output and the targets, or its name in `nn.functional`.
        optimizer: "sgd", "adam", "adamw" or "rmsprop", or a function of the parameters.
        lr: The learning rate where the optimizer is given by name.
        batch: Rows of a step.
        seed: Where random numbers begin.

    Raises:
        ArgumentError: The step cannot be recorded as one; says why.
    """
    network: Any = (
        Replayed(model, batch) if isinstance(model, LoadedModel) else copy.deepcopy(model)
    )
    network.train()
    given = [_rows(a, batch) for a in _several(inputs)]
    keys = list(targets) if isinstance(targets, dict) else None
    wanted = [_rows(a, batch) for a in (_several(targets) if keys is None else targets.values())]
    measure = getattr(functional, loss) if isinstance(loss, str) else loss
    rule = _optimizer(network.parameters(), optimizer, lr)
    trained = {id(p) for group in rule.param_groups for p in group["params"]}
    for p in network.parameters():
        if id(p) not in trained:
            p.requires_grad_(False)  # its gradient would be added up from step to step
    names = _names(network)
    before = {name: _array(h).copy() for name, h in names.items()}
    count = len(given)

    def step(*rows: Any) -> Any:
        rule.zero_grad()
        aims = rows[count:] if keys is None else (dict(zip(keys, rows[count:], strict=True)),)
        found = measure(network(*rows[:count]), *aims)
        found.backward()
        rule.step()
        rule.zero_grad()
        return found

    rows = [tensor(a) for a in (*given, *wanted)]
    random = get_rng_state()
    try:
        step(*rows)  # so that what the optimizer keeps is there
        manual_seed(seed)
        pin = _recorded(step, rows)
    finally:
        set_rng_state(random)
    return _training(pin, rule, names, before, count)


def example_targets(loss: Any, output: Node, batch: int) -> Array | None:
    """Return targets that a loss takes beside an output; None where that is not known.

    Args:
        loss: A loss as `training_of` takes it; one of `tn.Model` may say itself what its `targets`
            are, in the words of TARGETS, or wrap a function.
        output: The model's output, of any number of rows.
        batch: Rows of the targets.
    """
    inner = getattr(loss, "function", loss)
    name = inner if isinstance(inner, str) else getattr(inner, "__name__", type(inner).__name__)
    kind = getattr(loss, "targets", None) or TARGETS.get(name)
    if kind == "classes" and len(output.shape) > 1:
        return np.zeros((batch, *output.shape[2:]), np.int64)
    if kind == "alike" and output.shape:
        return np.zeros((batch, *output.shape[1:]), output.dtype.numpy)
    return None


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _rows(value: Any, batch: int) -> Array:
    """Return so many rows of an example, beginning again where there are too few."""
    array = _array(value) if isinstance(value, Handle) else np.asarray(value)
    return np.resize(array, (batch, *array.shape[1:]))


def _array(handle: Any) -> Array:
    found: Array = handle.detach().numpy()
    return found


def _optimizer(params: Any, optimizer: Any, lr: float) -> Any:
    from tenor import optim  # noqa: PLC0415 - by name

    if not isinstance(optimizer, str):
        return optimizer(params)
    known = {"sgd": optim.SGD, "adam": optim.Adam, "adamw": optim.AdamW, "rmsprop": optim.RMSprop}
    if optimizer not in known:
        raise ArgumentError(
            "export: an optimizer's name.", came=repr(optimizer), fix=", ".join(known)
        )
    return known[optimizer](params, lr=lr)


def _names(network: Any) -> dict[str, Any]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _recorded(step: Callable[..., Any], rows: list[Any]) -> Pin:
    compiled: Compiled[Any, Any] = Compiled(step)
    compiled(*rows)
    pins = [pin for found in compiled.pins.values() for pin in found]
    if not pins:
        raise ArgumentError(
            "export: a training step must be one that can be repeated.",
            came="a step that does more than compute and write the model's state",
            fix="leave out what reads values, and custom autograd functions",
        )
    return pins[0]


def _training(
    pin: Pin, rule: Any, names: dict[str, Any], before: dict[str, Array], count: int
) -> Training:
    known = {id(h): name for name, h in names.items()}
    values = dict(before)
    for name, handle in names.items():
        for key, kept in rule.state.get(handle, {}).items():
            if isinstance(kept, Handle):
                known[id(kept)] = f"optimizer.{key}.{name}"
                values[known[id(kept)]] = np.zeros_like(_array(kept))
    graph = pin.binding.plan.graph
    leaves = [n for n in graph.nodes if n.op is ops.LEAF]
    inputs: dict[str, Node] = {}
    state: dict[str, Node] = {}
    for leaf, source in zip(leaves, pin.sources, strict=True):
        if isinstance(source, int):
            inputs[f"input_{source}" if source < count else f"target_{source - count}"] = leaf
        elif isinstance(source, Handle):
            name = known.get(id(source)) or f"_constant.{len(state)}"
            values.setdefault(name, _array(source))
            state[name] = leaf
        else:
            raise ArgumentError("export: a step begins without gradients.", came="a gradient read")
    return _assembled(pin, graph, inputs, state, values, rule, known)


def _assembled(
    pin: Pin, graph: Graph, inputs: dict[str, Node], state: dict[str, Node],
    values: dict[str, Array], rule: Any, known: dict[int, str],
) -> Training:  # fmt: skip
    """Put the step's graph together: inputs, state, numbers; the loss, and the new state."""
    if not isinstance(pin.returned, At):
        raise ArgumentError("export: a loss is one tensor.", came=type(pin.returned).__name__)
    inputs = {name: inputs[name] for name in sorted(inputs)}
    made: dict[str, Node] = {"loss": _placed(pin, graph, pin.returned.number)}
    updates = []
    for number, (what, _) in enumerate(pin.live):
        if isinstance(what, Handle):
            name = known[id(what)]
            updates.append((state[name], len(made)))
            made[name] = _placed(pin, graph, number)
    first = {*inputs.values(), *state.values()}
    slots = [n for n in graph.nodes if n.op is ops.SCALAR]
    rest = [n for n in graph.nodes if n not in first and n.op not in (ops.SCALAR, ops.LEAF)]
    step = Graph([*inputs.values(), *state.values(), *slots, *rest], [*made.values()], updates)
    kinds = ["f64" if n.dtype.kind == "float" else "i64" for n in slots]
    numbers = numbers_of(rule, pin.scalars, pin.providers, kinds)
    batch = next(iter(inputs.values())).shape[0] if inputs else 0
    source = Source(
        "model", "train", step, inputs, {name: values[name] for name in state}, made, {}, {}, batch
    )
    ours = tuple(n for n in state if not n.startswith(("optimizer.", "_constant.")))
    targets = tuple(n for n in inputs if n.startswith("target_"))
    return Training(source, numbers, float(rule.param_groups[0]["lr"]), targets, ours)


def _placed(pin: Pin, graph: Graph, number: int) -> Node:
    space, at = pin.binding.places[number]
    leaves = [n for n in graph.nodes if n.op is ops.LEAF]
    return graph.outputs[at] if space == "output" else leaves[at]


# -- for a machine ------------------------------------------------------------------------------
def trainable_of(model: LoadedModel, training: Training, target: Target) -> Trainable:
    """Return a model and its training step for a machine, over one state.

    Args:
        model: The model as it was saved before; its weights have the names the step's have.
        training: The step.
        target: The machine.
    """
    answers = source_of(model)
    state = dict(training.step.weights)
    state |= {name: a for name, a in answers.weights.items() if name not in state}
    places, at = {}, 0
    for name, array in state.items():
        places[name] = at
        at += room_of(array.nbytes)
    train = _machine(training.step, target, places, at)
    predict = _machine(answers, target, places, at)
    memory = np.zeros(at, np.uint8)
    for name, array in state.items():
        raw = np.frombuffer(np.ascontiguousarray(array), np.uint8)
        memory[places[name] : places[name] + raw.size] = raw
    return Trainable(
        replace(predict, weights=memory), replace(train, weights=memory), training, places
    )


def _machine(source: Source, target: Target, places: dict[str, int], nbytes: int) -> Machine:
    first = len(source.inputs)
    at = {first + i: places[name] for i, name in enumerate(source.weights)}
    made = whole(source.graph, target, first, skip=UNPREPARED, places=at, nbytes=nbytes)
    return Machine(source, target, made, laid_out(source, made))
