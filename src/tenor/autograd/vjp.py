"""One vector-Jacobian rule for each primitive: reverse mode, by composition of primitives.

Scheme: a rule is given the cotangent g of an operation's output and writes, with a `Builder`, the
cotangent of each input, sum_k g_k * dy_k/dx. It writes ordinary primitives, each of which has a
row here, so a backward graph is differentiated like any other and higher order needs nothing more.
A rule asks the tape for a forward value only where it uses it: what it asks for is what is kept.

None is a row too: it says "no gradient", with its reason.

Sources: Griewank and Walther, "Evaluating Derivatives", 2nd ed., chapter 3 (reverse mode);
PyTorch's tools/autograd/derivatives.yaml for the values at ties, zeros and other edges.
"""

from __future__ import annotations

from typing import Final

from tenor.autograd import attention, contraction, elementwise, movement, reduce
from tenor.autograd.tape import Cotangents, Rule, Tape, unary

__all__ = ["VJP", "Cotangents", "Rule", "Tape"]


VJP: Final[dict[str, Rule | None]] = {
    # Parameters and constants read nothing.
    "leaf": None, "scalar": None, "const": None, "iota": None,
    # Bits drawn from integers.
    "random_bits": None,
    "neg": unary(elementwise.neg), "abs": unary(elementwise.abs_),
    "sign": elementwise.flat, "floor": elementwise.flat, "ceil": elementwise.flat,
    "trunc": elementwise.flat, "round": elementwise.flat, "floordiv": elementwise.flat,
    "exp": unary(elementwise.exp), "expm1": unary(elementwise.expm1),
    "log": unary(elementwise.log), "log1p": unary(elementwise.log1p),
    "sqrt": unary(elementwise.sqrt), "rsqrt": unary(elementwise.rsqrt),
    "sin": unary(elementwise.sin), "cos": unary(elementwise.cos),
    "tanh": unary(elementwise.tanh), "erf": unary(elementwise.erf),
    "sigmoid": unary(elementwise.sigmoid), "cast": elementwise.cast,
    # Defined on integers and bools only.
    "not": None, "wrap_index": None, "and": None, "or": None, "xor": None, "shl": None, "shr": None,
    "add": elementwise.add, "sub": elementwise.sub, "mul": elementwise.mul, "div": elementwise.div,
    "mod": elementwise.mod, "pow": elementwise.pow_,
    "maximum": elementwise.maximum, "minimum": elementwise.minimum,
    # A bool comes out.
    "eq": None, "ne": None, "lt": None, "le": None,
    "where": elementwise.where,
    "sum": unary(reduce.sum_), "prod": unary(reduce.prod),
    "max": unary(reduce.max_), "min": unary(reduce.min_),
    # Positions come out.
    "argmax": None, "argmin": None, "argsort": None, "topk": None,
    "reshape": unary(movement.reshape), "expand": unary(movement.expand),
    "permute": unary(movement.permute), "slice": unary(movement.slice_),
    "pad": unary(movement.pad), "unfold": unary(movement.unfold), "fold": unary(movement.fold),
    "concat": movement.concat, "slice_update": movement.slice_update,
    "take": unary(movement.take), "take_along": unary(movement.take_along),
    "put": movement.put, "put_along": movement.put_along,
    "matmul": contraction.matmul, "conv": contraction.conv,
    "conv_input": contraction.conv_input, "conv_weight": contraction.conv_weight,
    "attention": attention.attention, "attention_gradient": attention.attention_gradient,
    "cumsum": unary(reduce.cumsum),
    # Integers come out.
    "matmul_int8": None, "conv_int8": None, "quantize": None,
    # Its meaning is to stop the gradient.
    "detach": None,
    # A leaf: the gradient arrives here and goes no further.
    "variable": None,
    # The engine asks the custom Function itself.
    "function": None,
    "barrier": unary(lambda t: t.g),
}  # fmt: skip
