"""Gradients of every primitive, and of the functions, against differences and against PyTorch."""

from __future__ import annotations

import functools
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.autograd.vjp import VJP
from tenor.engine.trace import record
from tenor.ir import dtype as dt
from tenor.ir.op import OPS
from tests.ops.differentiable import (
    FUNCTIONS,
    NO_DIFFERENCES,
    NONE_FOR_ZEROS,
    SMOOTH,
    TIED,
    spec,
)
from tests.ops.oracle import agree, given
from tests.ops.rows import reference

if TYPE_CHECKING:
    from collections.abc import Callable

AXES = "primitive x sample x order"


class Case(NamedTuple):
    """One use of a primitive: what it is given, and what it records of that."""

    inputs: tuple[Any, ...]
    call: Callable[..., Any]


def draw(shape, domain="any", seed=0):
    """Draw numbers: "any", "positive", "apart" (all different by 0.3, none near 0)."""
    numbers = np.random.default_rng(zlib.crc32(f"{shape} {domain} {seed}".encode()))
    if domain == "positive":
        return numbers.uniform(0.4, 2.0, shape)
    if domain == "apart":
        count = int(np.prod(shape))
        ranks = numbers.permutation(count) - count // 2
        return ((ranks + (ranks >= 0)) * 0.37 + numbers.uniform(-0.03, 0.03, count)).reshape(shape)
    return numbers.uniform(-1.5, 1.5, shape)


def leaf(shape, domain="any", seed=0):
    """Return a float64 leaf that requires a gradient."""
    return tn.tensor(draw(shape, domain, seed)).requires_grad_()


def whole(values):
    return tn.tensor(values)


def op(name, *attrs):
    """Return a function that records one primitive."""
    return lambda *xs: record(OPS[name], xs, attrs)


def one(name, *attrs, shape=(2, 3), domain="any"):
    return [Case((leaf(shape, domain),), op(name, *attrs))]


def two(name, domain="any"):
    """Return a binary primitive's cases: same shape, a scalar on either side, one tensor twice."""
    call = op(name)
    return [
        Case((leaf((2, 3), domain, 1), leaf((2, 3), domain, 2)), call),
        Case((leaf((2, 3), domain, 1), leaf((), domain, 2)), call),
        Case((leaf((), domain, 1), leaf((3,), domain, 2)), call),
        Case((leaf((3,), domain, 3),), lambda x: call(x, x * 1.25 + 0.125)),
    ]


def reduction(name, *attrs, domain="any"):
    return [
        *one(name, (1,), *attrs, domain=domain),
        *one(name, (0, 2), *attrs, shape=(2, 2, 3), domain=domain),
        *one(name, (0, 1), *attrs, domain=domain),
    ]


def zeros_among(call, shape, count):
    """Return a case whose tensor holds zeros: a product's derivative has to survive them."""
    values = draw(shape)
    values.flat[:count] = 0
    return Case((tn.tensor(values).requires_grad_(),), call)


def windows(stride=(1,), padding=((0, 0),), dilation=(1,), groups=1, x=(2, 2, 5), w=(2, 2, 2)):
    """Return the three contractions of one convolution: forward, to the input, to the weight."""
    attrs = (stride, padding, dilation, groups)
    made = op("conv", *attrs)(tn.tensor(draw(x)), tn.tensor(draw(w)))
    g = tuple(made.shape)
    return {
        "conv": Case((leaf(x), leaf(w)), op("conv", *attrs)),
        "conv_input": Case((leaf(g), leaf(w)), op("conv_input", x, *attrs)),
        "conv_weight": Case((leaf(x), leaf(g)), op("conv_weight", w, *attrs)),
    }


def convolutions(name):
    return [
        windows()[name],
        windows(stride=(2,), padding=((1, 2),), dilation=(2,))[name],
        windows(groups=2, w=(2, 1, 3), padding=((1, 0),))[name],
        windows((1, 2), ((1, 0), (0, 1)), (1, 1), 1, (1, 2, 3, 4), (1, 2, 2, 2))[name],
    ]


def attentions(name, g=()):
    """Return cases of attention, or of its gradients where g's features are given."""
    shapes = ((1, 2, 3, 2), (1, 2, 4, 2), (1, 2, 4, 3))
    cases = []
    for causal in (False, True):
        leaves = [leaf(shape, seed=i) for i, shape in enumerate((*shapes, *g))]
        call = op(name, causal, 0.75)
        hidden = np.zeros((1, 1, 3, 4))
        hidden[..., 0, :], hidden[..., 1, 2] = -np.inf, 0.5
        masked = functools.partial(lambda call, mask, *xs: call(*xs, mask), call, tn.tensor(hidden))
        cases += [Case(tuple(leaves), call), Case(tuple(leaves), masked)]
    return cases


def masks():
    where, held = op("where"), whole([[True, False, True], [False, True, False]])
    return [
        Case((leaf((2, 3), seed=1), leaf((2, 3), seed=2)), lambda a, b: where(held, a, b)),
        Case((leaf((2, 3), seed=1), leaf((), seed=2)), lambda a, b: where(held, a, b)),
        Case((leaf((), seed=1), leaf((2, 3), seed=2)), lambda a, b: where(held, a, b)),
    ]


def indexed(name, *attrs, x=(3, 2), index=(2, 0, 2), source=None):
    """Return a primitive that reads or writes at an index between its first and third operand."""
    at, call = whole(index), op(name, *attrs)
    if source is None:
        return [Case((leaf(x),), lambda a: call(a, at))]
    return [Case((leaf(x, seed=1), leaf(source, seed=2)), lambda a, s: call(a, at, s))]


TURNED = [[1, 0], [2, 1]]

CASES: dict[str, list[Case]] = {
    "neg": one("neg"), "abs": one("abs", domain="apart"), "exp": one("exp"),
    "expm1": one("expm1"), "log": one("log", domain="positive"),
    "log1p": one("log1p", domain="positive"), "sqrt": one("sqrt", domain="positive"),
    "rsqrt": one("rsqrt", domain="positive"), "sin": one("sin"), "cos": one("cos"),
    "tanh": one("tanh"), "erf": one("erf"), "sigmoid": one("sigmoid"),
    "cast": one("cast", dt.float64),
    "add": two("add"), "sub": two("sub"), "mul": two("mul"), "div": two("div", "positive"),
    "sign": one("sign", domain="apart"), "floor": one("floor", domain="apart"),
    "ceil": one("ceil", domain="apart"), "trunc": one("trunc", domain="apart"),
    "round": one("round", domain="apart"), "floordiv": two("floordiv", "positive"),
    "mod": [
        Case((tn.tensor([2.3, -1.7, 5.1]).double().requires_grad_(),
              tn.tensor([0.9, 1.1, -2.0]).double().requires_grad_()), op("mod")),
        Case((tn.tensor([2.3, -1.7, 5.1]).double().requires_grad_(),
              tn.tensor(0.8).double().requires_grad_()), op("mod")),
    ],
    "pow": two("pow", "positive"),
    "maximum": two("maximum", "apart"), "minimum": two("minimum", "apart"),
    "where": masks(),
    "sum": reduction("sum"),
    "prod": [
        *reduction("prod"),
        zeros_among(op("prod", (1,)), (2, 3), 1),
        zeros_among(op("prod", (1,)), (2, 3), 2),
        zeros_among(op("prod", (0, 2)), (2, 2, 2), 3),
    ],
    "max": [*reduction("max", "even", domain="apart"), *reduction("max", "first", domain="apart")],
    "min": [*reduction("min", "even", domain="apart"), *reduction("min", "first", domain="apart")],
    "reshape": one("reshape", (3, 2)),
    "expand": [*one("expand", (4, 2, 3)), *one("expand", (2, 3), shape=(2, 1)),
               *one("expand", (2, 2), shape=())],
    "permute": one("permute", (2, 0, 1), shape=(2, 3, 1)),
    "slice": [*one("slice", (1, 0), (1, 2), (1, 1)), *one("slice", (1, 2), (1, 2), (1, -2)),
              *one("slice", (0, 0), (2, 0), (1, 1))],
    "pad": [*one("pad", (1, 0), (0, 2), 0.0), *one("pad", (0, 2), (1, 0), 3.5)],
    "unfold": [*one("unfold", 1, 2, 1, 1, shape=(2, 4)), *one("unfold", 0, 2, 2, 2, shape=(6, 1))],
    "fold": [*one("fold", 1, 4, 1, 1, shape=(2, 3, 2)), *one("fold", 0, 7, 2, 2, shape=(2, 1, 3))],
    "concat": [
        Case((leaf((2, 1), seed=1), leaf((2, 3), seed=2), leaf((2, 2), seed=3)), op("concat", 1)),
        Case((leaf((2, 2), seed=1),), lambda x: op("concat", 0)(x, x)),
    ],
    "slice_update": [
        Case((leaf((3, 4), seed=1), leaf((2, 2), seed=2)), op("slice_update", (1, 0), (1, 2))),
        Case((leaf((4,), seed=1), leaf((2,), seed=2)), op("slice_update", (3,), (-2,))),
    ],
    "take": [*indexed("take", 0), *indexed("take", 1, x=(2, 3), index=TURNED)],
    "take_along": [*indexed("take_along", 0, x=(3, 2), index=TURNED),
                   *indexed("take_along", 1, x=(2, 3), index=TURNED)],
    "put": [*indexed("put", 0, "add", source=(3, 2)),
            *indexed("put", 0, "set", index=(2, 0), source=(2, 2))],
    "put_along": [*indexed("put_along", 0, "add", index=TURNED, source=(2, 2)),
                  *indexed("put_along", 1, "set", x=(2, 3), index=TURNED, source=(2, 2))],
    "matmul": [
        Case((leaf((2, 3), seed=1), leaf((3, 2), seed=2)), op("matmul")),
        Case((leaf((2, 1, 3), seed=1), leaf((2, 3, 2), seed=2)), op("matmul")),
    ],
    "conv": convolutions("conv"), "conv_input": convolutions("conv_input"),
    "conv_weight": convolutions("conv_weight"),
    "attention": attentions("attention"),
    "attention_gradient": attentions("attention_gradient", ((1, 3, 2, 3),)),
    "cumsum": [*one("cumsum", 1, False), *one("cumsum", 0, True)],
    "barrier": one("barrier"),
}  # fmt: skip

DIFFERENTIABLE = sorted(name for name, rule in VJP.items() if rule is not None)


def test_every_differentiable_primitive_has_a_case():
    missing = [name for name in DIFFERENTIABLE if not CASES.get(name)]
    assert not missing, f"tests/ops/test_gradients.py has no case for {', '.join(missing)}"
    assert sorted(CASES) == DIFFERENTIABLE


@pytest.mark.parametrize("name", CASES)
def test_a_primitives_gradient_is_what_differences_say(name, count):
    for case in CASES[name]:
        tn.autograd.gradcheck(case.call, case.inputs)
        with reference():  # a curve on top, so that a linear operation has a second derivative
            tn.autograd.gradgradcheck(curved(case.call), case.inputs)
        count("gradients", AXES, 2)


def curved(call):
    return lambda *xs: call(*xs).sin()


NUMBERS = {
    "argmax": (0,), "argmin": (0,), "argsort": (0, False), "topk": (0, 1, False), "detach": (),
    "quantize": (3, -128, 127),
}  # fmt: skip
"""Primitives of one float tensor that pass no gradient back, and their attributes."""
PAIRS = ("eq", "ne", "lt", "le")
NO_FLOATS = {"leaf", "scalar", "const", "iota", "random_bits", "not", "wrap_index", "and", "or",
             "xor", "shl", "shr", "matmul_int8", "conv_int8"}  # fmt: skip
"""Primitives that read no floats at all."""
BY_THE_ENGINE = {"variable", "function"}
"""Where the engine starts a new leaf or asks a custom Function; tests/semantics tries them."""


def test_every_other_primitive_is_known_to_give_no_gradient():
    silent = {name for name, rule in VJP.items() if rule is None}
    assert silent == {*NUMBERS, *PAIRS, *NO_FLOATS, *BY_THE_ENGINE}


@pytest.mark.parametrize("name", [*NUMBERS, *PAIRS])
def test_a_primitive_without_a_rule_gives_no_gradient(name, count):
    inputs = [leaf((3,), "apart", k) for k in range(2 if name in PAIRS else 1)]
    x = inputs[0]
    given = [v.float() if name == "quantize" else v for v in inputs]  # it takes float32 alone
    made = op(name, *NUMBERS.get(name, ()))(*given)
    total = (made.double() + x * 3).sum()
    total.backward()
    assert x.grad.tolist() == [3.0, 3.0, 3.0]
    assert all(other.grad is None for other in inputs[1:])
    count("gradients", AXES)


def test_a_gradient_that_is_the_seed_itself():
    x, seed = leaf((2,)), leaf((2,), seed=1)
    (g,) = tn.autograd.grad([x + 1.0], [x], [seed], create_graph=True)
    g.tolist()
    (found,) = tn.autograd.grad([g], [seed], [tn.ones(2).double()])
    assert found.tolist() == [1.0, 1.0]


# -- functions ------------------------------------------------------------------------------------
def arguments(label):
    """Return a function's call, and its inputs as arrays."""
    call, *inputs = FUNCTIONS[label]
    return call, [draw(*spec(x), seed=k) for k, x in enumerate(inputs)]


@pytest.mark.parametrize("label", [f for f in FUNCTIONS if f not in NO_DIFFERENCES])
def test_a_functions_gradient_is_what_differences_say(label, count):
    call, arrays = arguments(label)
    leaves = [tn.tensor(x).requires_grad_() for x in arrays]
    with reference():
        tn.autograd.gradcheck(lambda *xs: call(tn, *xs), leaves)
        tn.autograd.gradgradcheck(curved(lambda *xs: call(tn, *xs)), leaves)
    count("gradients", "function x order", 2)


def loss(out):
    """Return a weighted sum, so that every element of a result counts differently."""
    m = torch if isinstance(out, torch.Tensor) else tn
    weight = m.linspace(-1, 1.5, out.numel(), dtype=out.dtype).reshape(out.shape)
    return (out * weight).sum()


def gradients(m, call, leaves):
    out = call(m, *leaves)
    if out.requires_grad:
        loss(out).backward()
    return out, [x.grad for x in leaves]


def same(call, arrays, none_for_zeros=False):
    """Compare a function and its float32 gradients with PyTorch's."""
    theirs = [torch.tensor(x, dtype=torch.float32, requires_grad=True) for x in arrays]
    ours = [given(x) for x in theirs]
    wanted, want = gradients(torch, call, theirs)
    found, got = gradients(tn, call, ours)
    agree(found, wanted, 3e-5)
    for a, b in zip(got, want, strict=True):
        if a is None and none_for_zeros:
            assert not b.any()
        elif b is None:
            assert a is None
        else:
            assert a is not None
            agree(a, b, 1e-4, 3e-5)


@pytest.mark.parametrize("label", FUNCTIONS)
def test_a_functions_gradient_is_pytorchs(label, count):
    call, arrays = arguments(label)
    same(call, arrays, label in NONE_FOR_ZEROS)
    count("gradients", "function against PyTorch, float32")


@pytest.mark.parametrize("label", TIED)
def test_a_gradient_at_a_kink_is_pytorchs(label, count):
    for values in ([[1, 0, 1, 0], [0, 1, 1, 2]], [[-1, 0, 2, 2], [2, -1, -1, 0]]):
        same(TIED[label], [np.array(values, np.float32)])
        count("gradients", "kink against PyTorch, float32")


@pytest.mark.parametrize("label", SMOOTH)
def test_a_second_derivative_where_pieces_meet_is_pytorchs(label, count):
    def twice(m, x):
        y = SMOOTH[label](m, x)
        (g,) = m.autograd.grad(loss(y), x, create_graph=True)
        (h,) = m.autograd.grad((g * g).sum(), x)
        return g, h

    for values in ([0.0, 0.0, 0.0], [0.0, 1.0, -1.0], [0.5, 0.5, -0.5], [2.0, 0.0, 2.0]):
        theirs = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        agree(twice(tn, given(theirs)), twice(torch, theirs), 1e-9)
        count("gradients", "second derivative against PyTorch, float64")
