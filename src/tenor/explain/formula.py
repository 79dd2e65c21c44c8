"""A kernel as text: its loops over the domain and what it stores, as formulas.

::

    for i0 < 32, i1 < 10:
      t1 = %4[10*i0 + i1] + %1[i1]
      %5[10*i0 + i1] = max(t1, 0.0)
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tenor.ir.kernel import Affine, Expr, Guard, Kernel

__all__ = ["affine_text", "expressions", "formula"]

INFIX: Final = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "mod": "%",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "and": "&", "or": "|", "xor": "^", "shl": "<<", "shr": ">>",
}  # fmt: skip
LONG: Final = 72
"""Characters after which a formula is broken into named parts."""


def affine_text(affine: Affine) -> str:
    """Return an affine function of the domain's index, e.g. `10*i0 + i1 + 3`."""
    terms = [
        f"i{dim}" if stride == 1 else f"{stride}*i{dim}"
        for dim, stride in enumerate(affine.strides)
        if stride
    ]
    if affine.offset or not terms:
        terms.append(str(affine.offset))
    return " + ".join(terms).replace("+ -", "- ")


def expressions(kernel: Kernel) -> list[Expr]:
    """Return every distinct expression of a kernel, arguments before what uses them."""
    # By identity: equal ones are one object, and hashing one would walk all below it.
    seen: dict[int, Expr] = {}
    for root in _roots(kernel):
        stack = [(root, False)]
        while stack:
            expr, done = stack.pop()
            if done:
                seen[id(expr)] = expr
            elif id(expr) not in seen:
                stack.append((expr, True))
                stack.extend((arg, False) for arg in reversed(expr.args))
    return list(seen.values())


def _roots(kernel: Kernel) -> Iterator[Expr]:
    yield from (expr for _, expr in kernel.reductions)
    yield from (store.expr for store in kernel.stores)


def formula(kernel: Kernel, names: Sequence[str]) -> str:
    """Return a kernel as text; one of several parts, part by part, with what only they see as rows.

    What follows a template stands after it.

    Args:
        kernel: The kernel.
        names: What each of its buffers is called.
    """
    if kernel.parts:
        own = [] if kernel.kind in ("rows", "channels") else _Writer(kernel, names).lines()
        return "\n".join([*own, *(
            formula(part.kernel, [names[w] if w >= 0 else f"row{~w}" for w in part.wires])
            for part in kernel.parts
        )])  # fmt: skip
    return "\n".join(_Writer(kernel, names).lines())


class _Writer:
    """A kernel being written."""

    def __init__(self, kernel: Kernel, names: Sequence[str]) -> None:
        self.kernel = kernel
        self.names = names
        self.texts: dict[int, str] = {}
        self.uses = Counter(id(arg) for e in expressions(kernel) for arg in e.args)
        self.parts: list[str] = []
        self.named = 0

    def lines(self) -> list[str]:
        """Return the text, line by line."""
        kernel = self.kernel
        if not kernel.stores:
            return self._template()
        lines, indent = self._loops(range(len(kernel.domain)), "")
        for number, (op, expr) in enumerate(kernel.reductions):
            text = self._text(expr)
            lines += [indent + part for part in self._taken()]
            dims = ", ".join(f"i{dim}" for dim in kernel.reduce_dims)
            lines.append(f"{indent}r{number} = {op} over {dims} of {text}")
        if kernel.reductions:
            kept = [d for d in range(len(kernel.domain)) if d not in kernel.reduce_dims]
            after, indent = self._loops(kept, "then ")
            lines += after
        for store in kernel.stores:
            text = self._text(store.expr)
            lines += [indent + part for part in self._taken()]
            lines.append(
                f"{indent}{self.names[store.buffer]}[{affine_text(store.affine)}] = {text}"
            )
        return lines

    def _loops(self, dims: Sequence[int], head: str) -> tuple[list[str], str]:
        ranges = [f"i{dim} < {self.kernel.domain[dim]}" for dim in dims]
        if not ranges:
            return ([f"{head}once:"] if head else []), "  " if head else ""
        return [f"{head}for {', '.join(ranges)}:"], "  "

    def _template(self) -> list[str]:
        kernel = self.kernel
        pairs = list(zip(self.names, kernel.buffers, strict=True))
        reads = ", ".join(name for name, buffer in pairs if not buffer.written)
        writes = ", ".join(name for name, buffer in pairs if buffer.written)
        lines = [f"{writes} = {kernel.kind}({reads})"]
        return lines + [f"  {name} = {value}" for name, value in kernel.params.items()]

    def _taken(self) -> list[str]:
        parts, self.parts = self.parts, []
        return parts

    def _text(self, root: Expr) -> str:
        """Return an expression's text; what is used twice or is long gets a name before it."""
        stack = [(root, False)]
        while stack:
            expr, done = stack.pop()
            if id(expr) in self.texts:
                continue
            if not done:
                stack.append((expr, True))
                stack.extend((arg, False) for arg in reversed(expr.args))
                continue
            text = self._one(expr)
            if expr.args and expr is not root and (self.uses[id(expr)] > 1 or len(text) > LONG):
                self.named += 1
                name = f"t{self.named}"
                self.parts.append(f"{name} = {_bare(text)}")
                text = name
            self.texts[id(expr)] = text
        return _bare(self.texts[id(root)])

    def _one(self, expr: Expr) -> str:
        args = [self.texts[id(arg)] for arg in expr.args]
        match expr.op:
            case "load":
                return self._load(expr, args)
            case "const":
                return str(expr.attrs[0])
            case "scalar":
                return str(self.names[expr.attrs[0]])
            case "iota":
                return f"({affine_text(expr.attrs[0])})"
            case "inside":
                return f"({_guards(expr.attrs[0])})"
            case "random":
                return f"philox({', '.join(args)}; word {affine_text(expr.attrs[0])})"
            case "reduced":
                return f"r{expr.attrs[0]}"
            case "cast":
                return f"{expr.dtype.text}({_bare(args[0])})"
            case "quantize":
                zero_point, low, high = expr.attrs
                return f"clamp(round({_bare(args[0])}) + {zero_point}, {low}, {high})"
            case "where":
                return f"({args[1]} if {args[0]} else {args[2]})"
            case "neg":
                return f"-{args[0]}"
        if expr.op in INFIX and len(args) == 2:
            return f"({args[0]} {INFIX[expr.op]} {args[1]})"
        return f"{expr.op}({', '.join(map(_bare, args))})"

    def _load(self, expr: Expr, args: list[str]) -> str:
        buffer, affine, guards, strides = expr.attrs
        terms = [a if k == 1 else f"{k}*{a}" for a, k in zip(args, strides, strict=True)]
        at = affine_text(affine)
        where = " + ".join([*terms, *([] if at == "0" and terms else [at])])
        text = f"{self.names[buffer]}[{where}]"
        return f"({text} if {_guards(guards)} else 0)" if guards else text


def _guards(guards: Sequence[Guard]) -> str:
    return " and ".join(f"{g.low} <= {affine_text(g.affine)} < {g.high}" for g in guards)


def _bare(text: str) -> str:
    """Drop one pair of parentheses around a whole text."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[1:-1] if at == len(text) - 1 else text
    return text
