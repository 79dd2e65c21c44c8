"""Recurrent layers: LSTM, GRU and the plain one, and their cells.

Shapes: T time, N batch, I input features, H hidden features, L layers, D directions (1 or 2).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.macro import macro
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.nn import functional, init
from tenor.nn.module import Module
from tenor.nn.packed import PackedSequence, packed_rows, padded_rows
from tenor.nn.parameter import Parameter
from tenor.tensor import Tensor, cat, empty, index_select, stack, tensor, where

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]

# A step takes the input's share of the gates (N, gates H), the states, and the hidden weights; it
# returns the new states, h first.
State = "tuple[Tensor, ...]"


def lstm_step(
    given: Tensor, state: tuple[Tensor, ...], weight: Tensor, bias: Tensor | None,
    project: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return (h, c) one step on; gates in the order i, f, g, o.

    i, f, o = sigmoid, g = tanh of given + h weight^T + bias; c' = f c + i g; h' = o tanh(c').

    Source:
        Hochreiter and Schmidhuber 1997; forget gate of Gers et al. 2000.
    """
    h, c = state
    i, f, g, o = (given + functional.linear(h, weight, bias)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h if project is None else functional.linear(h, project)), c


def gru_step(
    given: Tensor, state: tuple[Tensor, ...], weight: Tensor, bias: Tensor | None,
    _project: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return (h,) one step on; gates in the order r, z, n.

    r, z = sigmoid(given + h weight^T + bias); n = tanh(given + r (h weight^T + bias));
    h' = (1 - z) n + z h.

    Source:
        Cho et al. 2014.
    """
    (h,) = state
    given_r, given_z, given_n = given.chunk(3, -1)
    own_r, own_z, own_n = functional.linear(h, weight, bias).chunk(3, -1)
    z = (given_z + own_z).sigmoid()
    n = (given_n + (given_r + own_r).sigmoid() * own_n).tanh()
    return (n + z * (h - n),)


def tanh_step(
    given: Tensor, state: tuple[Tensor, ...], weight: Tensor, bias: Tensor | None,
    _project: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return (h,) one step on: h' = tanh(given + h weight^T + bias)."""
    return ((given + functional.linear(state[0], weight, bias)).tanh(),)


def relu_step(
    given: Tensor, state: tuple[Tensor, ...], weight: Tensor, bias: Tensor | None,
    _project: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return (h,) one step on: h' = max(given + h weight^T + bias, 0)."""
    return ((given + functional.linear(state[0], weight, bias)).relu(),)


PLAIN = {"tanh": tanh_step, "relu": relu_step}


def _plain_step(name: str, nonlinearity: str) -> Callable[..., tuple[Tensor, ...]]:
    if nonlinearity not in PLAIN:
        raise ArgumentError(
            f"{name}: nonlinearity must be 'tanh' or 'relu'.",
            came=repr(nonlinearity),
            fix="choose one of the two",
        )
    return PLAIN[nonlinearity]


def steps(
    step: Callable[..., tuple[Tensor, ...]], backwards: bool, live: Sequence[Tensor] | None,
    shares: Tensor, weight: Tensor, bias: Tensor | None, project: Tensor | None,
    state: tuple[Tensor, ...],
) -> tuple[Tensor, tuple[Tensor, ...]]:  # fmt: skip
    """Return the outputs (T, N, H) and last states of steps over shares (T, N, gates H)."""
    given = shares.unbind(0)
    outputs = []
    times = range(len(given))
    for t in reversed(times) if backwards else times:
        new = step(given[t], state, weight, bias, project)
        if live is not None:  # a sequence that has ended, or not begun, keeps its state
            new = tuple(where(live[t], a, b) for a, b in zip(new, state, strict=True))
        state = new
        outputs.append(state[0])
    if backwards:
        outputs.reverse()
    return stack(outputs, 0), state


@macro
def one_edge(
    step: Callable[..., tuple[Tensor, ...]], backwards: bool, shares: Tensor, weight: Tensor,
    bias: Tensor | None, project: Tensor | None, *state: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return the outputs and last states, recorded as one edge after the first time."""
    out, last = steps(step, backwards, None, shares, weight, bias, project, state)
    return out, *last


# -- whole sequences ----------------------------------------------------------------------------
class Recurrent(Module):
    """Layers of steps over time: what LSTM, GRU and RNN share.

    Attributes:
        gates: How many rows of H a weight holds.
        states: How many states a step keeps.
    """

    gates: int
    states = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        if not 0.0 <= dropout <= 1.0:
            raise ArgumentError(
                f"{name}: dropout must lie in [0, 1].", came=f"{dropout}", fix="give a probability"
            )
        if hidden_size <= 0 or num_layers <= 0 or not 0 <= proj_size < hidden_size:
            raise ArgumentError(
                f"{name}: hidden_size and num_layers are positive, proj_size below hidden_size.",
                came=f"hidden_size={hidden_size}, num_layers={num_layers}, proj_size={proj_size}",
                fix="check the sizes",
            )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        for layer in range(num_layers):
            for suffix in self._suffixes(layer):
                wide = input_size if layer == 0 else self._out_size() * len(self._ends())
                self._make(suffix, wide, device, dtype)
        self.reset_parameters()

    def _out_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _ends(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def _suffixes(self, layer: int) -> list[str]:
        return [f"l{layer}{end}" for end in self._ends()]

    def _make(self, suffix: str, wide: int, device: Any, dtype: Any) -> None:
        rows = self.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, wide),
            "weight_hh": (rows, self._out_size()),
        }
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        for kind, shape in shapes.items():
            made = empty(shape, device=device, dtype=dtype)
            self.register_parameter(f"{kind}_{suffix}", Parameter(made))

    def reset_parameters(self) -> None:
        """Draw every parameter again, uniform on [-1/sqrt(H), 1/sqrt(H))."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing; PyTorch's programs call it before forward."""

    def step(self) -> Callable[..., tuple[Tensor, ...]]:
        """Return the function of one step."""
        raise ArgumentError(
            f"{type(self).__name__}: a recurrent layer defines step().",
            came="a class without it",
            fix="use LSTM, GRU or RNN",
        )

    # -- running ------------------------------------------------------------------------------
    def run(
        self, x: Tensor | PackedSequence, given: Sequence[Tensor] | None
    ) -> tuple[Any, tuple[Tensor, ...]]:
        """Return (output, last states) for a sequence and the first states, or zeros."""
        if isinstance(x, PackedSequence):
            return self._packed(x, given)
        check_input(self, x, self.weight_ih_l0)
        batched = x.ndim == 3
        self._check_features(x)
        if not x.shape[1 if batched and self.batch_first else 0]:
            raise ShapeError(
                f"{type(self).__name__}: a sequence must have a time.",
                came=f"input {tuple(x.shape)}",
                fix="leave empty sequences out",
                operands=(x,),
            )
        if not batched:
            x = x.unsqueeze(1)
        elif self.batch_first:
            x = x.transpose(0, 1)
        states = self._states(x, given, batched)
        out, last = self._layers(x, states)
        if not batched:
            return out.squeeze(1), tuple(s.squeeze(1) for s in last)
        return (out.transpose(0, 1) if self.batch_first else out), last

    def _packed(
        self, x: PackedSequence, given: Sequence[Tensor] | None
    ) -> tuple[PackedSequence, tuple[Tensor, ...]]:
        """Return packed outputs, and each sequence's states where it ends."""
        lengths = x.lengths
        whole = padded_rows(x.data, lengths)
        self._check_features(whole)
        if given is not None and x.sorted_indices is not None:
            given = [index_select(s, 1, x.sorted_indices) for s in given]
        live = tensor(np.arange(lengths[0])[:, None] < lengths).unsqueeze(-1)
        out, last = self._layers(whole, self._states(whole, given, True), live.unbind(0))
        if x.unsorted_indices is not None:
            last = tuple(index_select(s, 1, x.unsorted_indices) for s in last)
        return x._replace(data=packed_rows(out, lengths)), last

    def _check_features(self, x: Tensor) -> None:
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: expects (T, N, {self.input_size}), "
                f"(N, T, {self.input_size}) with batch_first, or (T, {self.input_size}).",
                came=f"input {tuple(x.shape)}",
                fix=f"feed {self.input_size} features in the last dim",
                operands=(x,),
            )

    def _states(
        self, x: Tensor, given: Sequence[Tensor] | None, batched: bool
    ) -> list[tuple[Tensor, ...]]:
        """Return the first states of each layer and direction."""
        rows = self.num_layers * len(self._ends())
        sizes = (self._out_size(), self.hidden_size)[: self.states]
        shapes = [(rows, x.shape[1], size) for size in sizes]
        if given is None:
            wholes = [x.new_zeros(shape) for shape in shapes]
        else:
            wholes = [s if batched else s.unsqueeze(1) for s in given]
            if [tuple(s.shape) for s in wholes] != shapes:
                raise ShapeError(
                    f"{type(self).__name__}: the first states must have the shapes "
                    f"{', '.join(str(s) for s in shapes)}.",
                    came=[f"{tuple(s.shape)}" for s in wholes],
                    fix="states are (layers * directions, N, H), whatever batch_first is",
                )
        return [tuple(whole[row] for whole in wholes) for row in range(rows)]

    def _layers(
        self, x: Tensor, states: list[tuple[Tensor, ...]], live: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return (output, last states); `live` says at each time which sequences go on."""
        last: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = functional.dropout(x, self.dropout, self.training)
            sides = []
            for suffix in self._suffixes(layer):
                backwards = suffix.endswith("_reverse")
                side, state = self._direction(x, states[len(last)], suffix, backwards, live)
                sides.append(side)
                last.append(state)
            x = sides[0] if len(sides) == 1 else cat(sides, -1)
        return x, tuple(stack(parts, 0) for parts in zip(*last, strict=True))

    def _direction(
        self, x: Tensor, state: tuple[Tensor, ...], suffix: str, backwards: bool,
        live: Sequence[Tensor] | None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:  # fmt: skip
        own = self._parameters
        weight, bias = own[f"weight_hh_{suffix}"], own.get(f"bias_hh_{suffix}")
        project = own.get(f"weight_hr_{suffix}")
        into = own[f"weight_ih_{suffix}"]
        assert into is not None
        assert weight is not None
        # The input's share of the gates does not depend on the state: one product for all times.
        shares = functional.linear(x, into, own.get(f"bias_ih_{suffix}"))
        step = self.step()
        if live is not None:
            return steps(step, backwards, live, shares, weight, bias, project, state)
        out, *last = one_edge(step, backwards, shares, weight, bias, project, *state)
        return out, tuple(last)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        parts = [f"{self.input_size}, {self.hidden_size}"]
        usual = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False,
                 "dropout": 0.0, "bidirectional": False}  # fmt: skip
        for name, value in usual.items():
            if getattr(self, name) != value:
                parts.append(f"{name}={getattr(self, name)}")
        return ", ".join(parts)


def check_input(layer: Module, x: Any, weight: Tensor) -> None:
    """Refuse an input that is no tensor, or not of the weights' dtype."""
    name = type(layer).__name__
    if not isinstance(x, Tensor):
        raise DTypeError(
            f"{name}: input must be a tensor or a PackedSequence.",
            came=type(x).__name__,
            fix="make a tensor with tn.tensor()",
        )
    functional.same_dtype(name, x, weight)


class LSTM(Recurrent):
    """Run layers of long short-term memory over a sequence.

    Parameters are `weight_ih_l0` (4H, I), `weight_hh_l0` (4H, H), `bias_ih_l0`, `bias_hh_l0` (4H),
    gates in the order i, f, g, o; further layers `_l1`, ..., the other direction `_l0_reverse`.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L.
        bias: Whether there are biases.
        batch_first: Whether input and output are (N, T, features); states never are.
        dropout: Probability of dropping what goes from layer to layer, in training.
        bidirectional: Whether another half of each layer runs from the end.
        proj_size: Length of the projected h, or 0.
        device: "cpu".
        dtype: Of the parameters; float32 by default.

    Shape:
        Input (T, N, I), states ((L D, N, H), (L D, N, H)); output (T, N, D H) and the last states.
        A `PackedSequence` gives another, and the states where each sequence ends.
        Under `tn.compile` a `PackedSequence` raises an ObservationError: its lengths are read.

    Example:
        >>> import tenor as tn
        >>> out, (h, c) = tn.nn.LSTM(3, 5, num_layers=2)(tn.ones(7, 2, 3))
        >>> tuple(out.shape), tuple(h.shape)
        ((7, 2, 5), (2, 2, 5))
    """

    gates = 4
    states = 2

    def step(self) -> Callable[..., tuple[Tensor, ...]]:
        """Return the function of one step."""
        return lstm_step

    def forward(
        self, input: Tensor | PackedSequence, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Any, tuple[Tensor, ...]]:
        """Return the output at every time, and the last (h, c)."""
        return self.run(input, hx)


class GRU(Recurrent):
    """Run layers of gated recurrent units over a sequence; gates in the order r, z, n.

    Arguments, names and shapes are those of `LSTM`, without a projection; the state is h alone.
    Under `tn.compile` a `PackedSequence` raises an ObservationError, as there.

    Example:
        >>> import tenor as tn
        >>> out, h = tn.nn.GRU(3, 5)(tn.ones(7, 2, 3))
        >>> tuple(out.shape), tuple(h.shape)
        ((7, 2, 5), (1, 2, 5))
    """

    gates = 3

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip

    def step(self) -> Callable[..., tuple[Tensor, ...]]:
        """Return the function of one step."""
        return gru_step

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Any, Tensor]:
        """Return the output at every time, and the last h."""
        out, last = self.run(input, None if hx is None else (hx,))
        return out, last[0]


class RNN(Recurrent):
    """Run layers of h' = tanh(W_ih x + b_ih + W_hh h + b_hh) over a sequence.

    Arguments, names and shapes are those of `LSTM`; the state is h alone.
    Under `tn.compile` a `PackedSequence` raises an ObservationError, as there.

    Args:
        nonlinearity: "tanh" or "relu".
    """

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
        bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
        bidirectional: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        _plain_step("RNN", nonlinearity)
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip

    def step(self) -> Callable[..., tuple[Tensor, ...]]:
        """Return the function of one step."""
        return PLAIN[self.nonlinearity]

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Any, Tensor]:
        """Return the output at every time, and the last h."""
        out, last = self.run(input, None if hx is None else (hx,))
        return out, last[0]


# -- single steps -------------------------------------------------------------------------------
class Cell(Module):
    """One step of a recurrent layer: what the cells share.

    Attributes:
        gates: How many rows of H a weight holds.
        states: How many states a step keeps.
    """

    gates: int
    states = 1
    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = self.gates * hidden_size
        self.weight_ih = Parameter(empty(rows, input_size, device=device, dtype=dtype))
        self.weight_hh = Parameter(empty(rows, hidden_size, device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            made = Parameter(empty(rows, device=device, dtype=dtype)) if bias else None
            self.register_parameter(name, made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter again, uniform on [-1/sqrt(H), 1/sqrt(H))."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def run(
        self, step: Callable[..., tuple[Tensor, ...]], x: Tensor, given: Sequence[Tensor] | None
    ) -> tuple[Tensor, ...]:
        """Return the states one step on."""
        check_input(self, x, self.weight_ih)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: expects (N, {self.input_size}) or ({self.input_size},).",
                came=f"input {tuple(x.shape)}",
                fix=f"feed {self.input_size} features in the last dim",
                operands=(x,),
            )
        shape = (*x.shape[:-1], self.hidden_size)
        state = tuple(given) if given is not None else (x.new_zeros(shape),) * self.states
        share = functional.linear(x, self.weight_ih, self.bias_ih)
        return step(share, state, self.weight_hh, self.bias_hh)

    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        tail = "" if self.bias else ", bias=False"
        return f"{self.input_size}, {self.hidden_size}{tail}"


class LSTMCell(Cell):
    """Take one step of an LSTM.

    Shape:
        Input (N, I), states ((N, H), (N, H)) or None; returns (h, c).

    Example:
        >>> import tenor as tn
        >>> h, c = tn.nn.LSTMCell(3, 5)(tn.ones(2, 3))
        >>> tuple(h.shape)
        (2, 5)
    """

    gates = 4
    states = 2

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, ...]:
        """Return (h, c) one step on."""
        return self.run(lstm_step, input, hx)


class GRUCell(Cell):
    """Take one step of a GRU: (N, I) and h (N, H) or None to h (N, H)."""

    gates = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return h one step on."""
        return self.run(gru_step, input, None if hx is None else (hx,))[0]


class RNNCell(Cell):
    """Take one step of a plain recurrent layer: (N, I) and h (N, H) or None to h (N, H)."""

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        _plain_step("RNNCell", nonlinearity)
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return h one step on."""
        return self.run(PLAIN[self.nonlinearity], input, None if hx is None else (hx,))[0]
