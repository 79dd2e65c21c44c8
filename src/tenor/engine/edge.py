"""Edges of whole modules: what a call of a module tree records, found by the tree being as it was.

A module of the library does what its class, its attributes and its tensors say. An `Edge` says so
of one module as it stands: which dictionaries must be unchanged, and the tensors in the order in
which the call reads them. Trees that are alike share a `Token`, under which the trie knows their
calls; nothing in the trie holds a model.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenor.engine.handle import Handle

__all__ = ["Edge", "Token"]


class Token:
    """What trees that are alike have in common: the key of their calls in the trie.

    Attributes:
        order: Which of a tree's tensors a call reads, first to last; None before it is known.
        failures: Calls in a row that could not be remembered.
    """

    __slots__ = ("failures", "order")

    def __init__(self) -> None:
        self.order: list[int] | None = None
        self.failures = 0


class Edge:
    """A module tree as it stands.

    Attributes:
        token: Of all trees like it.
        table: What must be unchanged; see `runtime.guarding`. The module's own comes first.
        tensors: How many tensors a call reads, and the address of each: what must be unchanged
            holds them. Empty as long as that is not known.
        held: Keeps what the table points to, but for what the module holds itself.
    """

    __slots__ = ("held", "table", "tensors", "token")

    def __init__(self, token: Token) -> None:
        self.token = token
        self.table = self.tensors = b""
        self.held: Any = None

    def read(self, tensors: Sequence[Handle]) -> None:
        """Take over which of a tree's tensors a call reads."""
        order = self.token.order
        if order is not None:
            self.tensors = struct.pack(
                f"={1 + len(order)}Q", len(order), *[id(tensors[i]) for i in order]
            )
