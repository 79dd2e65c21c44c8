"""JAX: the whole step under `jax.jit`, with donated state; optimizers from optax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from workloads import weights
from workloads.inference import Inference
from workloads.training import Training

from peers import Session
from peers.jax_modules import Module, channels_last, library
from peers.torch_names import FIRST

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["session"]

OPTIMIZERS = {
    "SGD": lambda lr, momentum=0.0: optax.sgd(lr, momentum or None),
    "Adam": lambda lr: optax.adam(lr),  # noqa: PLW0108 - its first argument has another name
    "AdamW": lambda lr: optax.adamw(lr, weight_decay=0.01),
}
"""PyTorch's name and arguments: optax's, with PyTorch's defaults."""


def session(row: Any, threads: int, folder: Path) -> Session | None:  # noqa: ARG001
    """Return the work of a row; XLA takes as many threads as the process has processors."""
    if isinstance(row, Training):
        return _training(row)
    if isinstance(row, Inference):
        return _answering(row)
    make = getattr(row, "make_jax", None)
    return None if make is None else _kernel(make(jax, jnp))


def _network(row: Any) -> tuple[Module, dict[str, Any]]:
    model = row.network(library)
    drawn = weights.draw(model.shapes())
    return model, {n: jnp.asarray(a, jnp.float32) for n, a in drawn.items()}


def _cross_entropy(logits: Any, labels: Any) -> Any:
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits, -1), labels[..., None], -1)
    return -chosen.mean()


def _training(row: Training) -> Session:
    Module.training = True
    model, state = _network(row)
    buffers = {n: v for n, v in state.items() if "running_" in n or n.endswith("_tracked")}
    parameters = {n: v for n, v in state.items() if n not in buffers}
    name, arguments = row.optimizer
    optimizer = OPTIMIZERS[name](**arguments)
    held = [parameters, buffers, optimizer.init(parameters)]
    *inputs, labels = (channels_last(a) for a in row.data(np.random.default_rng(0)))

    def loss_of(parameters: Any, buffers: Any, *batch: Any) -> Any:
        model.bind({**parameters, **buffers})
        loss = _cross_entropy(model(*batch[:-1]), batch[-1])
        after = model.held()
        return loss, {n: after[n] for n in buffers}

    def advance(parameters: Any, buffers: Any, moments: Any, *batch: Any) -> Any:
        (loss, buffers), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            parameters, buffers, *batch
        )
        updates, moments = optimizer.update(gradients, moments, parameters)
        return optax.apply_updates(parameters, updates), buffers, moments, loss

    compiled = jax.jit(advance, donate_argnums=(0, 1, 2))
    losses: list[float] = []

    def step() -> float:
        *held[:], loss = compiled(*held, *inputs, labels)
        value = float(loss)
        jax.block_until_ready(held)
        if len(losses) < FIRST:
            losses.append(value)
        return value

    return Session(step, lambda: np.array(losses))


def _answering(row: Inference) -> Session:
    Module.training = False
    model, state = _network(row)
    given = [channels_last(a) for a in row.data(np.random.default_rng(0))]
    fixed = len(given) - row.carried

    def answer(state: Any, *arrays: Any) -> Any:
        model.bind(state)
        return model(*arrays)

    donated = tuple(range(1 + fixed, 1 + len(given)))
    compiled = jax.jit(answer, donate_argnums=donated)
    first: list[np.ndarray] = []

    def step() -> Any:
        found = compiled(state, *given)
        found, *carried = found if row.carried else (found,)
        given[fixed:] = carried
        value = np.asarray(found)
        jax.block_until_ready(carried)
        if not first:
            first.append(np.array(value, np.float64).ravel())
        return value

    return Session(step, lambda: first[0])


def _kernel(work: Any) -> Session:
    first: list[np.ndarray] = []

    def step() -> Any:
        found = jax.block_until_ready(work())
        value = np.asarray(found[0] if isinstance(found, (tuple, list)) else found)
        if not first:
            first.append(np.array(value, np.float64).ravel()[:4096])
        return value

    return Session(step, lambda: first[0])
