"""Graphs as text, and back: what a model file holds and what compiler tests are written in.

::

    graph {
      %0 = leaf f32[32,784]
      %1 = scalar f32[]
      %2 = expand f32[32,784] (%1) shape=[32,784]
      %3 = mul f32[32,784] (%0, %2)
      return %3
      update %0 0
    }

Nodes are numbered as they stand. After the type come the inputs and the attributes by name;
parameters have none. `update %0 0` says that output 0 may be written over leaf %0. Floats are
Python's shortest exact repr, inf, -inf or nan, which loses a NaN's sign and payload.

`parse` takes hostile input: everything has a limit, nothing is evaluated, and each node must obey
the rules of `tenor.ir.verify`.
"""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn

from tenor.errors import CompileError, FormatError
from tenor.ir.dtype import ALL, DType
from tenor.ir.node import Graph, Node, Shape
from tenor.ir.op import OPS
from tenor.ir.verify import MAX_EXTENT, node_problems, verify

__all__ = ["MAX_NODES", "MAX_TEXT", "parse", "to_text"]

MAX_TEXT: Final = 16 << 20
MAX_NODES: Final = 1_000_000
MAX_DEPTH: Final = 4
MAX_RANK: Final = 64

DTYPES: Final = {dtype.text: dtype for dtype in ALL}


# -- writing ----------------------------------------------------------------------------------
def to_text(graph: Graph) -> str:
    """Return the graph as text that `parse` reads back exactly.

    Raises:
        CompileError: a node reads, or the graph returns, a value that does not stand before.
    """
    numbers: dict[Node, int] = {}
    lines = ["graph {"]
    for node in graph.nodes:
        lines.append(f"  %{len(numbers)} = {_written(node, numbers)}")
        numbers[node] = len(numbers)
    lines.append(" ".join(["  return", ", ".join(_names(graph.outputs, numbers))]).rstrip())
    updates = (f"  update {_names((leaf,), numbers)[0]} {k}" for leaf, k in graph.updates)
    return "\n".join([*lines, *updates, "}", ""])


def _names(nodes: tuple[Node, ...], numbers: dict[Node, int]) -> list[str]:
    try:
        return [f"%{numbers[x]}" for x in nodes]
    except KeyError as missing:
        raise CompileError(
            "text: a graph's nodes stand after what they read.",
            came=f"{missing.args[0]!r} is read before it stands in the graph",
            fix="verify() the graph after each pass",
        ) from None


def _written(node: Node, numbers: dict[Node, int]) -> str:
    parts = [node.op.name, f"{node.dtype.text}[{','.join(map(str, node.shape))}]"]
    if node.inputs:
        parts.append(f"({', '.join(_names(node.inputs, numbers))})")
    if node.op.family != "parameter":
        every = zip(node.op.attrs, node.attrs, strict=True)
        parts += [f"{name}={_literal(value)}" for name, value in every]
    return " ".join(parts)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, DType):
        return value.text
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return f"[{','.join(map(_literal, value))}]"
    return repr(value)


# -- reading ----------------------------------------------------------------------------------
TOKEN: Final = re.compile(
    r"""[ ]*(?:
      (?P<node>%[0-9]{1,7}(?![0-9]))
    | (?P<number>-?(?:inf\b|(?:[0-9]{1,40}(?:\.[0-9]{1,40})?(?:e[+-]?[0-9]{1,4})?)(?![0-9a-z.])))
    | (?P<name>[a-z_][a-z_0-9]{0,31}(?![a-z_0-9]))
    | (?P<string>"[a-z_0-9]{0,31}")
    | (?P<mark>[][(){}=,])
    )""",
    re.VERBOSE,
)
WORDS: Final[dict[str, Any]] = {
    "true": True, "false": False, "nan": float("nan"), **DTYPES,
}  # fmt: skip


def parse(text: str) -> Graph:
    """Return the graph that a text describes.

    Raises:
        FormatError: the text is not a valid graph; names the line.
    """
    if len(text) > MAX_TEXT:
        raise FormatError(
            f"IR text: at most {MAX_TEXT} characters.", came=f"{len(text)} characters",
            fix="was the right file opened?",
        )  # fmt: skip
    return _Reader(text).graph()


class _Reader:
    """Reads a text line by line, token by token; every refusal names the line."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.number = 0
        self.line = ""
        self.at = self.after = 0
        self.nodes: list[Node] = []

    def fail(self, problem: str) -> NoReturn:
        """Refuse the text at the current line."""
        raise FormatError(
            f"IR text, line {self.number}: {problem}.",
            came=self.line[:120],
            fix="the text was damaged or written by another version",
        )

    # -- tokens -------------------------------------------------------------------------------
    def next_line(self) -> None:
        """Move on to the next line."""
        if self.number >= len(self.lines):
            self.fail("the text ends before the graph does")
        self.line = self.lines[self.number].rstrip()
        self.number += 1
        self.at = 0

    def peek(self) -> tuple[str, str]:
        """Return the kind and text of the next token; ("end", "") at the line's end."""
        if self.at >= len(self.line):
            return "end", ""
        match = TOKEN.match(self.line, self.at)
        if match is None or match.lastgroup is None:
            self.fail(f"unreadable at column {self.at + 1}")
        self.after = match.end()
        return match.lastgroup, match.group(match.lastgroup)

    def take(self, kind: str, text: str = "") -> str:
        """Return the next token, which must be of a kind (and text)."""
        found, token = self.peek()
        if found != kind or (text and token != text):
            self.fail(f"expected {text or kind} at column {self.at + 1}")
        if kind != "end":
            self.at = self.after
        return token

    def skip(self, text: str) -> bool:
        """Take a mark or name if it comes next."""
        kind, token = self.peek()
        if token != text or kind not in ("mark", "name"):
            return False
        self.take(kind)
        return True

    # -- grammar --------------------------------------------------------------------------------
    def graph(self) -> Graph:
        """Read the whole text."""
        self.next_line()
        self.take("name", "graph")
        self.take("mark", "{")
        self.take("end")
        self.next_line()
        while self.peek()[0] == "node":
            self.nodes.append(self.node())
            self.next_line()
        self.take("name", "return")
        outputs = self.references("end")
        updates = []
        self.next_line()
        while self.skip("update"):
            updates.append((self.reference(), self.integer()))
            self.take("end")
            self.next_line()
        self.take("mark", "}")
        self.take("end")
        if any(line.strip() for line in self.lines[self.number :]):
            self.fail("text after the graph's end")
        return self.checked(Graph(self.nodes, outputs, updates))

    def node(self) -> Node:
        """Read `%i = op type (inputs) name=value ...` and hold it to the rules."""
        if len(self.nodes) >= MAX_NODES:
            self.fail(f"a graph has at most {MAX_NODES} nodes")
        if self.take("node") != f"%{len(self.nodes)}":
            self.fail(f"expected %{len(self.nodes)}; nodes are numbered as they stand")
        self.take("mark", "=")
        op = OPS.get(self.take("name"))
        if op is None:
            self.fail("no such operation")
        dtype = DTYPES.get(self.take("name"))
        if dtype is None:
            self.fail("no such dtype")
        shape = self.shape()
        inputs = self.references(")") if self.skip("(") else ()
        if op.family == "parameter":
            attrs: tuple[Any, ...] = {"leaf": (shape, dtype), "scalar": (dtype,)}[op.name]
        else:
            attrs = tuple(self.attribute(name) for name in op.attrs)
        self.take("end")
        node = Node(op, inputs, attrs, shape, dtype)
        for rule, problem in node_problems(node):
            self.fail(f"{op.name} breaks rule {rule!r}: {problem}")
        return node

    def shape(self) -> Shape:
        """Read `[2,3]`."""
        value = self.value()
        if type(value) is not tuple or len(value) > MAX_RANK:
            self.fail(f"expected a shape of at most {MAX_RANK} dims")
        if not all(type(n) is int and 0 <= n < MAX_EXTENT for n in value):
            self.fail(f"extents lie in [0, {MAX_EXTENT})")
        return value

    def integer(self) -> int:
        """Read a non-negative integer."""
        value = self.value()
        if type(value) is not int or value < 0:
            self.fail("expected a non-negative integer")
        return value

    def reference(self) -> Node:
        """Read `%i`, a node that stands before."""
        number = int(self.take("node")[1:])
        if number >= len(self.nodes):
            self.fail(f"%{number} does not stand before this line")
        return self.nodes[number]

    def references(self, end: str) -> tuple[Node, ...]:
        """Read `%i, %j` up to a closing mark or the line's end."""
        found: list[Node] = []
        while self.peek()[0] == "node":
            found.append(self.reference())
            if not self.skip(","):
                break
        self.take("end") if end == "end" else self.take("mark", end)
        return tuple(found)

    def attribute(self, name: str) -> Any:
        """Read `name=value`."""
        self.take("name", name)
        self.take("mark", "=")
        return self.value()

    def value(self, depth: int = 0) -> Any:
        """Read a number, word, string or list."""
        kind, word = self.peek()
        if kind == "mark" and word == "[":
            return self.values(depth + 1)
        if kind == "name" and word in WORDS:
            return WORDS[self.take("name")]
        if kind == "string":
            return self.take("string")[1:-1]
        number = self.take("number")
        return int(number) if number.lstrip("-").isdigit() else float(number)

    def values(self, depth: int) -> tuple[Any, ...]:
        """Read `[a,b]`."""
        if depth > MAX_DEPTH:
            self.fail(f"lists nest at most {MAX_DEPTH} deep")
        self.take("mark", "[")
        found: list[Any] = []
        while not self.skip("]"):
            if found:
                self.take("mark", ",")
            found.append(self.value(depth))
        return tuple(found)

    def checked(self, graph: Graph) -> Graph:
        """Hold the finished graph to the rules about the whole."""
        try:
            return verify(graph, "read")
        except CompileError as error:
            self.fail("; ".join(error.came))
