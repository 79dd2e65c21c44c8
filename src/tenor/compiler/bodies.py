"""Kernels made once for all sizes: a kernel over symbols of its own, and the code found for it.

The numbers of a kernel that depend on a program's sizes become its symbols, in the order in which
they stand in it. So kernels of any program that do the same are one body, and its code takes the
numbers at run time. Where lowering had to decide (is this dim shorter than a vector?) the code
holds for sizes that decide alike; others get code of their own, when they come.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import OrderedDict
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tenor.compiler.emit import llvm
from tenor.compiler.lower import lower as lower_kernel
from tenor.ir.dtype import DType
from tenor.ir.kernel import Expr, Kernel, Part, ordered
from tenor.ir.node import size
from tenor.ir.symbolic import Sizes, Sym, predicate, symbol, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.ir.target import Target

__all__ = ["Body", "Code", "body_of", "counts", "key_of", "localised", "named"]

KEPT: Final = 2048
"""Bodies remembered."""
counts: Final = {"bodies": 0, "codes": 0}
"""How many kernels were made for all sizes, and how many times one had to be lowered for them."""


@dataclass(frozen=True)
class Code:
    """What a body is for sizes that answer some questions alike.

    Attributes:
        text, symbol: The text, and the symbol it defines.
        fits: Tells whether it is for these numbers.
        shape: Tiles, bytes of scratch, cost, a tile's span, and elements of the domain, from the
            numbers.
    """

    text: str
    symbol: str
    fits: Callable[[Sequence[int]], bool]
    shape: Callable[[Sequence[int]], tuple[int, ...]]


class Body:
    """A kernel over symbols, and its codes so far."""

    def __init__(self, kernel: Kernel, target: Target) -> None:
        self.kernel, self.target = kernel, target
        self.codes: list[Code] = []
        counts["bodies"] += 1

    def code(self, numbers: Sequence[int]) -> Code:
        """Return the code for these numbers, lowered now where there is none yet."""
        for code in self.codes:
            if code.fits(numbers):
                return code
        code = self._lowered(numbers)
        self.codes.append(code)
        return code

    def covers(self, *numbers: int) -> int:
        """Return how many elements of the domain a tile covers at these numbers."""
        tiles, _, _, span, count = self.code(numbers).shape(numbers)
        return count if tiles == 1 else span

    def _lowered(self, numbers: Sequence[int]) -> Code:
        counts["codes"] += 1
        kernel = self.kernel
        with Sizes(numbers) as sizes:
            low = lower_kernel(kernel, self.target)
            low.function.numbers = len(kernel.buffers)
            shape = (low.tiles, low.scratch, low.cost, low.span, size(kernel.domain))
            text = llvm.emit(low.function, "k_0", self.target)
        text, symbol = named(text)
        return Code(text, symbol, predicate(sizes.guards.values()), values_of(shape))


def named(text: str) -> tuple[str, str]:
    """Return the text of a kernel called `k_0` under the name its contents give it, and that."""
    symbol = "k_" + hashlib.sha256(text.encode()).hexdigest()[:24]
    return text.replace("@k_0", f"@{symbol}"), symbol


_bodies: Final[OrderedDict[Any, Body]] = OrderedDict()


def body_of(kernel: Kernel, target: Target) -> Body:
    """Return the body of a kernel over symbols of its own."""
    key = (key_of(kernel), target)
    found = _bodies.get(key)
    if found is None:
        if len(_bodies) >= KEPT:
            with contextlib.suppress(KeyError):  # another thread was faster
                _bodies.popitem(last=False)
        found = _bodies.setdefault(key, Body(kernel, target))
    return found


def key_of(kernel: Kernel) -> Any:
    """Return what equal kernels have in common and others have not."""
    params = repr(sorted(kernel.params.items()))  # tells 0.0 from -0.0
    parts = tuple((key_of(part.kernel), part.wires) for part in kernel.parts)
    return (kernel.kind, kernel.domain, kernel.reduce_dims, tuple(kernel.buffers),
            tuple(kernel.stores), tuple(kernel.reductions), params, parts)  # fmt: skip


def localised(kernel: Kernel) -> tuple[Kernel, list[Sym]]:
    """Return a kernel over symbols of its own, and what each stands for."""
    change = _Localiser()
    local = change.kernel(kernel)
    return (local, change.numbers) if change.numbers else (kernel, [])


class _Localiser:
    """The numbers met so far, and the kernel they are replaced in."""

    def __init__(self) -> None:
        self.numbers: list[Sym] = []
        self.symbols: dict[str, Sym] = {}
        self.known: dict[Expr, Expr] = {}

    def number(self, number: Sym) -> Sym:
        """Return the symbol that stands for a number."""
        name = repr(number)
        if name not in self.symbols:
            low = number.low()
            self.symbols[name] = symbol(len(self.numbers), free=low is None or low < 2)
            self.numbers.append(number)
        return self.symbols[name]

    def kernel(self, kernel: Kernel) -> Kernel:
        """Return a kernel with every number replaced."""
        change: Any = self.change
        return replace(
            kernel,
            domain=change(kernel.domain),
            buffers=change(kernel.buffers),
            stores=change(kernel.stores),
            reductions=change(kernel.reductions),
            params=change(kernel.params),
            parts=tuple(Part(self.kernel(p.kernel), p.wires) for p in kernel.parts),
        )

    def expr(self, root: Expr) -> Expr:
        """Return an expression with every number replaced."""
        for expr in ordered([root], self.known):
            args = tuple(self.known[a] for a in expr.args)
            attrs = tuple(self.change(a) for a in expr.attrs)
            self.known[expr] = Expr(expr.op, args, attrs, expr.dtype)
        return self.known[root]

    def change(self, value: Any) -> Any:
        """Return a value, or a nest of them, with every number replaced.

        What is of another kind than those is refused: a program's number left in a kernel would be
        taken for one of the kernel's own.
        """
        kind = type(value)
        if kind is Sym:
            return self.number(value)
        if kind is tuple or kind is list:
            return kind([self.change(v) for v in value])
        if kind is dict:
            return {name: self.change(v) for name, v in value.items()}
        if kind is Expr:
            return self.expr(value)
        if kind is Kernel:
            return self.kernel(value)
        if is_dataclass(value) and not isinstance(value, type | DType):
            names = [field.name for field in fields(value)]
            return replace(value, **{n: self.change(getattr(value, n)) for n in names})
        assert value is None or isinstance(value, PLAIN), f"a kernel may not hold {kind.__name__}"
        return value


PLAIN: Final = (int, float, str, DType)
