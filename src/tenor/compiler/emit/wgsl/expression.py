"""A kernel's expressions as WGSL, at one index of its domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tenor.compiler.emit.wgsl.body import every
from tenor.compiler.emit.wgsl.element import ELEMENT, Written, cast, literal, rounded, zero
from tenor.ir import dtype as dt
from tenor.ir.kernel import Affine, ordered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tenor.compiler.emit.wgsl.body import Body
    from tenor.ir.kernel import Expr, Guard, Kernel

__all__ = ["Axis", "Evaluator", "affines_of", "axes_of", "unravelled"]


EXACT: Final = frozenset(("load", "const", "reduced", "where", "neg", "abs", "maximum", "minimum"))
"""What gives no number that has to be rounded."""


@dataclass(frozen=True)
class Axis:
    """Dims of a domain that are gone over as one.

    Attributes:
        extent: How many indices they have together.
        dim: The innermost of them, whose stride is the axis's.
        reduced: Whether they are reduced.
    """

    extent: int
    dim: int
    reduced: bool


def affines_of(kernel: Kernel) -> list[Affine]:
    """Return every affine of a kernel."""
    found = [store.affine for store in kernel.stores]
    for expr in kernel.expressions():
        found += _affines(expr)
    return found


def _affines(expr: Expr) -> list[Affine]:
    if expr.op == "load":
        return [expr.attrs[1], *(g.affine for g in expr.attrs[2])]
    if expr.op == "iota":
        return [expr.attrs[0]]
    return [g.affine for g in expr.attrs[0]] if expr.op == "inside" else []


def axes_of(kernel: Kernel) -> list[Axis]:
    """Return a kernel's domain as few axes: neighbours that every affine takes in line are one."""
    axes: list[Axis] = []
    affines = [a for a in affines_of(kernel) if a.strides]
    for dim, extent in enumerate(kernel.domain):
        if extent == 1:
            continue
        reduced = dim in kernel.reduce_dims
        last = axes[-1] if axes else None
        if last and last.reduced == reduced and all(
            a.strides[last.dim] == a.strides[dim] * extent for a in affines
        ):  # fmt: skip
            axes[-1] = Axis(last.extent * extent, dim, reduced)
        else:
            axes.append(Axis(extent, dim, reduced))
    return axes


def unravelled(body: Body, index: str, axes: Sequence[Axis]) -> dict[int, str]:
    """Name the index of each axis of a row-major index; return the names by dim."""
    named: dict[int, str] = {}
    for at, axis in reversed(list(enumerate(axes))):
        if at == 0:
            named[axis.dim] = index
        else:
            named[axis.dim] = body.let(f"{index} % {axis.extent}")
            index = body.let(f"{index} / {axis.extent}")
    return named


class Evaluator:
    """Writes expressions at an index.

    Args:
        body: Where to.
        index: The name of the index of each dim that has one; the others stand at 0.
        reduced: The names of the reductions' results.
    """

    def __init__(self, body: Body, index: dict[int, str], reduced: Sequence[str] = ()) -> None:
        self.body, self.index, self.reduced = body, index, reduced
        self.known: dict[Expr, str] = {}

    def affine(self, affine: Affine) -> str:
        """Return an affine's value."""
        terms = [
            name if stride == 1 else f"{name} * {stride}"
            for dim, name in sorted(self.index.items())
            if (stride := affine.strides[dim] if affine.strides else 0)
        ]
        if affine.offset or not terms:
            terms.append(str(affine.offset))
        return " + ".join(terms)

    def value(self, root: Expr) -> str:
        """Return the name of an expression's value."""
        for expr in ordered([root], self.known):
            args = [self.known[a] for a in expr.args]
            if all(a.op == "const" for a in expr.args):
                # What is made of literals alone is worked out, and refused, by the compiler.
                args = [self.body.let(arg) for arg in args]
            made = self._compute(expr, args)
            if expr.op not in EXACT:
                made = rounded(made, expr.dtype)
            simple = expr.op in ("const", "reduced")
            self.known[expr] = self.body.use(made) if simple else self.body.let(made)
        return self.known[root]

    def _compute(self, expr: Expr, args: list[str]) -> str:
        special: Any = getattr(self, f"_op_{expr.op}", None)
        if special is not None:
            return special(expr, args)  # type: ignore[no-any-return]
        made: str = ELEMENT[expr.op](args, expr.args[-1].dtype)
        return made

    def _op_const(self, expr: Expr, _args: list[str]) -> str:
        return literal(expr.attrs[0], expr.dtype)

    def _op_cast(self, expr: Expr, args: list[str]) -> str:
        return cast(args[0], expr.args[0].dtype, expr.dtype)

    def _op_quantize(self, expr: Expr, args: list[str]) -> str:
        """Clamp before the zero point is added: what is too large for an integer is none then."""
        zero_point, low, high = expr.attrs
        least, most = (literal(v - zero_point, dt.float32) for v in (low, high))
        return Written(f"quantized({args[0]}, {least}, {most}) + {zero_point}", "quantized")

    def _op_reduced(self, expr: Expr, _args: list[str]) -> str:
        number: int = expr.attrs[0]
        return self.reduced[number]

    def _op_iota(self, expr: Expr, _args: list[str]) -> str:
        at = self.affine(expr.attrs[0])
        kind = expr.dtype.kind
        return Written({"float": f"f32({at})", "uint": f"u32({at})"}.get(kind, f"i32({at})"))

    def _op_inside(self, expr: Expr, _args: list[str]) -> str:
        return self._holds(expr.attrs[0])

    def _op_wrap_index(self, expr: Expr, args: list[str]) -> str:
        """Count an "index" from the end where negative; note one out of range and give 0 for it."""
        extent, what, code = expr.attrs
        x = moved = args[0]
        if what == "index":
            moved = self.body.let(f"select({x}, {x} + {extent}, {x} < 0)")
        good = self.body.let(f"u32({moved}) < {extent}u")
        self.body.note(code, x, f"!{good}")
        return f"select(0, {moved}, {good})"

    def _holds(self, guards: Iterable[Guard]) -> str:
        tests = []
        for guard in guards:
            at = self.affine(guard.affine)
            if guard.low:
                at = f"{at} - {guard.low}" if guard.low > 0 else f"{at} + {-guard.low}"
            tests.append(f"u32({at}) < {guard.high - guard.low}u")
        return every(tests)

    def _op_load(self, expr: Expr, args: list[str]) -> str:
        number, affine, guards, strides = expr.attrs
        if self.body.buffer(number).size == 0:
            return zero(expr.dtype)
        at = self.affine(affine)
        for arg, stride in zip(args, strides, strict=True):
            at += f" + {arg}" if stride == 1 else f" + {arg} * {stride}"
        if not guards:
            return self.body.load(number, at)
        test = self.body.let(self._holds(guards))
        got = self.body.load(number, f"select(0, {at}, {test})")
        return f"select({zero(expr.dtype)}, {got}, {test})"
