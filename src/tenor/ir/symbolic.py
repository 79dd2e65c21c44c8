"""Whole numbers that are not known yet: a compiler that runs on them makes code for many sizes.

A `Sym` is a polynomial of symbols and of quotients, with whole coefficients. It computes as an int
does. Where Python must decide (`if n > 16`, `range(n)`) it answers for the sizes at hand, and the
open `Sizes` notes what was asked: what was compiled holds for all sizes that answer the same.

::

    n = symbol(0)
    with Sizes((40,)) as sizes:
        n * 4 + 8 > 100     # True, and sizes.guards holds "4*v[0]-92>0"
"""

from __future__ import annotations

import itertools
import operator
import threading
from math import prod
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "Ratio", "Sizes", "Sym", "alike", "applied", "free", "known", "predicate", "symbol",
    "values_of",
]  # fmt: skip

Monomial = tuple["Atom", ...]


class Atom:
    """A symbol, or what is no polynomial: a quotient rounded down, or a function of numbers.

    Attributes:
        kind: "s" (a symbol of at least 2), "u" (any number), "q" (args[0] // args[1]) or "f"
            (function(*args)).
        order: The symbol's number, or when it was made.
        args: What a quotient or function is of.
        low: A number it is never below, or None.
    """

    __slots__ = ("args", "function", "kind", "low", "name", "order")

    def __init__(
        self, kind: str, order: int, args: tuple[Any, ...] = (), low: int | None = None,
        function: Callable[..., int] | None = None,
    ) -> None:  # fmt: skip
        self.kind, self.order, self.args, self.low = kind, order, args, low
        self.function = function
        self.name = f"{kind}{order}" if kind in "su" else ".".join([kind, *map(repr, args)])
        if function is not None:
            self.name += f".f{order}"

    def __lt__(self, other: Atom) -> bool:
        return self.name < other.name  # never by when it was made: the order shows in texts

    def __repr__(self) -> str:
        return self.name if self.kind in "su" else f"$.{self.name}.$"

    def code(self, table: list[Callable[..., int]]) -> str:
        """Return it as Python text over the tuple `v` of the symbols' values.

        Functions are added to the table, and called as `f[number]`.
        """
        if self.kind in "su":
            return f"v[{self.order}]"
        args = [code_of(a, table) for a in self.args]
        if self.function is None:
            return f"(({args[0]})//({args[1]}))"
        if self.function not in table:
            table.append(self.function)
        return f"f[{table.index(self.function)}]({','.join(args)})"

    def value(self, sizes: Sizes) -> int:
        """Return its value at some sizes."""
        if self.kind in "su":
            return sizes.values[self.order]
        args = [sizes.value(a) for a in self.args]
        return args[0] // args[1] if self.function is None else self.function(*args)


_symbols: Final[dict[tuple[str, int], Sym]] = {}
_atoms: Final[dict[Any, Atom]] = {}
_count: Final = itertools.count()
KEPT: Final = 1 << 16
"""Quotients remembered before they are forgotten; equal ones made later are then other atoms."""


class Sym:
    """A whole number that depends on sizes. Arithmetic is exact; see the module."""

    __slots__ = ("_hash", "terms")

    terms: tuple[tuple[Monomial, int], ...]

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self.terms = terms
        self._hash = hash(terms)

    # -- arithmetic ---------------------------------------------------------------------------
    def __add__(self, other: object) -> Any:
        return made(_sum(_terms(self), _terms(other))) if whole(other) else NotImplemented

    __radd__ = __add__

    def __neg__(self) -> Any:
        return self * -1

    def __pos__(self) -> Self:
        return self

    def __sub__(self, other: Any) -> Any:
        return self + other * -1 if whole(other) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return self * -1 + other if whole(other) else NotImplemented

    def __mul__(self, other: Any) -> Any:
        if not whole(other):
            return float(self) * other if isinstance(other, float) else NotImplemented
        total: dict[Monomial, int] = {}
        for m, a in _terms(self):
            for n, b in _terms(other):
                key = tuple(sorted(m + n))
                total[key] = total.get(key, 0) + a * b
        return made(total.items())

    __rmul__ = __mul__

    def __floordiv__(self, other: object) -> Any:
        return quotient(self, other) if whole(other) else NotImplemented

    def __rfloordiv__(self, other: object) -> Any:
        return quotient(other, self) if whole(other) else NotImplemented

    def __mod__(self, other: Any) -> Any:
        return self - other * quotient(self, other) if whole(other) else NotImplemented

    def __rmod__(self, other: Any) -> Any:
        return other - self * quotient(other, self) if whole(other) else NotImplemented

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        return self // other, self % other

    def __truediv__(self, other: Any) -> Any:
        return Ratio(self, other) if whole(other) else NotImplemented

    def __rtruediv__(self, other: Any) -> Any:
        return Ratio(other, self) if whole(other) else NotImplemented

    def __abs__(self) -> Any:
        return self if self >= 0 else -self

    # -- questions ----------------------------------------------------------------------------
    def __eq__(self, other: object) -> bool:
        return self is other or (whole(other) and decide(self - other, "=="))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> bool:
        return decide(self - other, "<")

    def __le__(self, other: Any) -> bool:
        return not decide(self - other, ">")

    def __gt__(self, other: Any) -> bool:
        return decide(self - other, ">")

    def __ge__(self, other: Any) -> bool:
        return not decide(self - other, "<")

    def __bool__(self) -> bool:
        return not decide(self, "==")

    def __hash__(self) -> int:
        return self._hash

    def __index__(self) -> int:
        """Return the number at hand; the code is for that number alone."""
        value = current().value(self)
        decide(self - value, "==")
        return value

    __int__ = __index__
    __trunc__ = __index__
    __ceil__ = __index__
    __floor__ = __index__

    def __float__(self) -> float:
        return float(self.__index__())

    def bit_length(self) -> int:
        """Return the bits of its magnitude, as a plain number."""
        bits = current().value(self).bit_length()
        if self >= 1 << bits or self < 1 << (bits - 1) if bits else self != 0:
            return operator.index(self).bit_length()  # it is negative
        return bits

    def __repr__(self) -> str:
        """Return text that names this number and no other, of letters LLVM takes in a name."""
        parts = []
        for monomial, factor in self.terms:
            name = ".".join(map(repr, monomial))
            parts.append(f"{factor}.{name}" if monomial else str(factor))
        return "n" + "_".join(parts)

    def low(self) -> int | None:
        """Return a number it is never below, or None."""
        total = 0
        for monomial, factor in self.terms:
            lows = [a.low for a in monomial]
            if monomial and (
                factor < 0 or None in lows or min(x for x in lows if x is not None) < 0
            ):
                return None
            total += factor * prod(x for x in lows if x is not None)
        return total


class Ratio:
    """A quotient not rounded yet: `ceil(a / b)` needs no float; for anything else it is one."""

    def __init__(self, top: Any, bottom: Any) -> None:
        self.top, self.bottom = top, bottom

    def __ceil__(self) -> Any:
        return -(-self.top // self.bottom)

    def __floor__(self) -> Any:
        return self.top // self.bottom

    def __float__(self) -> float:
        return operator.index(self.top) / operator.index(self.bottom)


def _plain(x: Any) -> Any:
    return operator.index(x) if isinstance(x, Sym) else float(x) if isinstance(x, Ratio) else x


def _worked_out(kind: type, *names: str) -> None:
    """Give a class operators that are worked out on the numbers at hand."""
    for name in names:
        plain = getattr(operator, name)
        short = name.strip("_")
        setattr(kind, f"__{short}__", lambda a, b, f=plain: f(_plain(a), _plain(b)))
        if short not in ("lt", "le", "gt", "ge", "eq", "ne"):
            setattr(kind, f"__r{short}__", lambda a, b, f=plain: f(_plain(b), _plain(a)))


_worked_out(Sym, "pow", "lshift", "rshift", "and_", "or_", "xor")
_worked_out(Ratio, "add", "sub", "mul", "truediv", "pow", "lt", "le", "gt", "ge")


# -- making -------------------------------------------------------------------------------------
def whole(x: object) -> bool:
    """Tell whether x is a whole number, known or not."""
    return isinstance(x, (int, Sym))


def symbol(number: int, *, free: bool = False) -> Sym:
    """Return a symbol: the number-th of the sizes, at least 2; `free`: any number."""
    key = ("u" if free else "s", number)
    found = _symbols.get(key)
    if found is None:
        found = Sym((((Atom(*key, low=None if free else 2),), 1),))
        found = _symbols.setdefault(key, found)
    return found


def applied(function: Callable[..., int], *args: Any) -> Any:
    """Return function(*args): of symbols, a number that is worked out once sizes are known.

    The function must be pure and module-level: equal numbers give equal results.
    """
    if not any(isinstance(a, Sym) for a in args):
        return function(*args)
    return _atomic("f", args, None, function)


def made(terms: Iterable[tuple[Monomial, int]]) -> Any:
    """Return a polynomial, as a plain int where nothing is unknown in it."""
    kept = sorted(((m, c) for m, c in terms if c), key=lambda t: (len(t[0]), t[0]))
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    return Sym(tuple(kept))


def _terms(x: Any) -> tuple[tuple[Monomial, int], ...]:
    return x.terms if isinstance(x, Sym) else (((), int(x)),)


def _sum(a: Iterable[tuple[Monomial, int]], b: Iterable[tuple[Monomial, int]]) -> Any:
    total = dict(a)
    for monomial, factor in b:
        total[monomial] = total.get(monomial, 0) + factor
    return total.items()


def quotient(a: Any, b: Any) -> Any:
    """Return a // b. What divides exactly is taken out: (12 n + 5) // 4 = 3 n + 1."""
    exact: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    divisor = _terms(b)
    if len(divisor) == 1 and divisor[0][1] > 0 and (isinstance(b, int) or _low(b) is not None):
        below, factor = divisor[0]
        for monomial, value in _terms(a):
            left = _without(monomial, below)
            if left is None or (value % factor and (left or below)):
                rest[monomial] = value
            else:
                exact[left] = exact.get(left, 0) + value // factor
                rest[below] = rest.get(below, 0) + value % factor
    else:
        rest = dict(_terms(a))
    remainder = made(rest.items())
    whole_part = made(exact.items())
    if isinstance(remainder, int) and isinstance(b, int):
        return whole_part + remainder // b
    if isinstance(remainder, int) and remainder == 0:
        return whole_part
    low = _low(remainder)
    floor = None if low is None or low < 0 or (_low(b) or 0) <= 0 else (
        low // b if isinstance(b, int) else 0)  # fmt: skip
    return whole_part + _atomic("q", (remainder, b), floor, None)


def _low(x: Any) -> int | None:
    return x.low() if isinstance(x, Sym) else x


def _without(monomial: Monomial, part: Monomial) -> Monomial | None:
    left = list(monomial)
    for atom in part:
        if atom not in left:
            return None
        left.remove(atom)
    return tuple(left)


def _atomic(
    kind: str, args: tuple[Any, ...], low: int | None, function: Callable[..., int] | None
) -> Sym:
    # Keyed by text: comparing the numbers themselves would ask what they are.
    key = (kind, tuple(map(repr, args)), function)
    found = _atoms.get(key)
    if found is None:
        if len(_atoms) >= KEPT:
            _atoms.clear()
        found = _atoms.setdefault(key, Atom(kind, next(_count), args, low, function))
    return Sym((((found,), 1),))


# -- deciding -----------------------------------------------------------------------------------
Guard = tuple["Sym", str, bool]


class Sizes:
    """The sizes at hand, and what was asked about them. `with` makes it the one that answers.

    Attributes:
        values: The values of the symbols.
        guards: Each question by its text: a number, how it was compared with 0, and the answer.
    """

    def __init__(self, values: Sequence[int]) -> None:
        self.values = tuple(values)
        self.guards: dict[str, Guard] = {}
        self._known: dict[Atom, int] = {}

    def value(self, x: Any) -> int:
        """Return what a number is at these sizes."""
        if not isinstance(x, Sym):
            return int(x)
        total = 0
        for monomial, factor in x.terms:
            for atom in monomial:
                known = self._known.get(atom)
                if known is None:
                    known = self._known[atom] = atom.value(self)
                factor *= known
            total += factor
        return total

    def __enter__(self) -> Self:
        _open.stack.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _open.stack.pop()


class _Open(threading.local):
    """The sizes that answer, in each thread."""

    def __init__(self) -> None:
        self.stack: list[Sizes] = []


_open: Final = _Open()


def current() -> Sizes:
    """Return the sizes that answer now."""
    return _open.stack[-1]


def known(x: int) -> int:
    """Return a number as a plain one; the code is for that number alone."""
    return operator.index(x)


def decide(difference: Any, test: str) -> bool:
    """Return whether `difference test 0`, noting the question unless it has one answer only."""
    if isinstance(difference, int):
        return TESTS[test](difference)
    low = difference.low()
    if low is not None and low > 0:
        return TESTS[test](1)
    high = (-difference).low()
    if high is not None and high > 0:
        return TESTS[test](-1)
    sizes = current()
    answer = TESTS[test](sizes.value(difference))
    sizes.guards[f"{difference!r}{test}"] = (difference, test, answer)
    return answer


TESTS: Final[dict[str, Callable[[int], bool]]] = {
    "==": lambda x: x == 0,
    "<": lambda x: x < 0,
    ">": lambda x: x > 0,
}


# -- from symbols to numbers --------------------------------------------------------------------
def code_of(x: Any, table: list[Callable[..., int]]) -> str:
    """Return a number as Python text over the tuple `v` of the symbols' values."""
    if not isinstance(x, Sym):
        return str(int(x))
    return "+".join(
        "*".join(
            [f"({factor})"] * (factor != 1 or not monomial) + [a.code(table) for a in monomial]
        )
        for monomial, factor in x.terms
    )


def _compiled(text: str, table: list[Callable[..., int]]) -> Any:
    return eval(text, {"f": table, "__builtins__": {}})  # noqa: S307 - our own arithmetic


def predicate(guards: Iterable[Guard]) -> Callable[[Sequence[int]], bool]:
    """Return the function of sizes that tells whether all questions have the same answers."""
    table: list[Callable[..., int]] = []
    tests = [
        f"{'' if answer else 'not '}{code_of(number, table)}{test}0"
        for number, test, answer in guards
    ]
    made: Callable[[Sequence[int]], bool] = _compiled(
        "lambda v: " + (" and ".join(tests) or "True"), table
    )
    return made


def values_of(numbers: Iterable[Any]) -> Callable[[Sequence[int]], tuple[int, ...]]:
    """Return the function of sizes that gives these numbers."""
    table: list[Callable[..., int]] = []
    inner = "".join(code_of(x, table) + "," for x in numbers)
    made: Callable[[Sequence[int]], tuple[int, ...]] = _compiled(f"lambda v: ({inner})", table)
    return made


def alike(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Tell whether extents are equal whatever the sizes; nothing is asked about those at hand."""
    return len(a) == len(b) and all(
        x is y or (isinstance(d := x - y, int) and d == 0) for x, y in zip(a, b, strict=True)
    )


def free(x: Any) -> bool:
    """Tell whether a number is unknown."""
    return isinstance(x, Sym)
