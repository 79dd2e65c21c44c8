"""What a module tree of the library is made of, so that its calls may be known as one edge.

A class of the library computes from its attributes, its tensors and what it is given, and nothing
else. A tree of such modules without hooks is therefore described by its classes, plain attributes
and shape. A subclass of a user's may do anything in `forward`, print or stop in a debugger: it is
always run, and its parts from the library are edges of their own.
"""

from __future__ import annotations

import functools
import gc
from typing import TYPE_CHECKING, Any, Final

from tenor.engine import recorder
from tenor.engine.call import exact, fixed
from tenor.engine.edge import Edge, Token
from tenor.engine.handle import Handle
from tenor.engine.learning import HOPELESS, Before, learn, worth_it
from tenor.nn.registry import EDGE, HOOKS, REGISTRIES
from tenor.runtime import guarding

if TYPE_CHECKING:
    from tenor.nn.module import Module

__all__ = ["hopeless", "remember"]

KEPT: Final = 4096
"""Kinds of trees that are told apart before all are forgotten."""
ASIDE: Final = frozenset((*HOOKS, *REGISTRIES, "_transient", EDGE))
"""Attributes that are looked at in another way, or that no call reads."""
_tokens: Final[dict[Any, Token]] = {}


class Tree:
    """A module and everything below it.

    Attributes:
        modules: Each once, outer ones first.
        dicts: Further dictionaries that say what it does.
        tensors: Parameters and buffers, each once.
        content: What trees that do the same have in common.
    """

    def __init__(self) -> None:
        self.modules: list[Module] = []
        self.dicts: list[dict[Any, Any]] = []
        self.tensors: list[Handle] = []
        self.content: list[Any] = []
        self.places: dict[int, int] = {}
        self.kinds: set[type] = set()

    def add(self, module: Module) -> bool:
        """Add a module; return whether all of it can be described."""
        own, kind = module.__dict__, type(module)
        if not of_the_library(kind) or any(own.get(name) for name in HOOKS):
            return False
        self.places[id(module)] = len(self.modules)
        self.modules.append(module)
        self.kinds.add(kind)
        self.dicts += [own[name] for name in HOOKS if name in own]
        held = {name for registry in REGISTRIES for name in own[registry]}
        if not held <= own.keys():  # else what a registry holds stands in the module's own as well
            self.dicts += [own[name] for name in REGISTRIES]
        self.content.append(kind)
        for name, value in own.items():
            if name in ASIDE or name in held:
                continue
            if not fixed(value):
                return False
            self.content.append((name, type(value), value, exact(value)))
        for registry in REGISTRIES:
            for name, value in own[registry].items():
                if not self.put(name, value):
                    return False
        self.content.append(None)
        return True

    def put(self, name: str, value: Any) -> bool:
        """Add what a registry holds; return whether it can be described."""
        if value is None:
            self.content.append((name, None))
            return True
        known = self.places.get(id(value))
        if known is not None:
            self.content.append((name, known))
            return True
        if isinstance(value, Handle):
            self.places[id(value)] = ~len(self.tensors)
            self.tensors.append(value)
            self.content.append((name, "tensor"))
            return True
        self.content.append((name, "module"))
        return self.add(value)


@functools.cache
def of_the_library(kind: type) -> bool:
    """Tell whether a class of modules is the library's own."""
    return kind.__module__.startswith("tenor.nn.") and not kind.__module__.endswith(".module")


@functools.cache
def _classes(kind: type) -> list[dict[str, Any]]:
    """Return the dictionaries of a class and those above it."""
    return [gc.get_referents(base.__dict__)[0] for base in kind.__mro__[:-1]]


@functools.cache
def _functions() -> dict[str, Any]:
    """Return the functions that modules call."""
    from tenor.nn import functional  # noqa: PLC0415 - it is above modules

    return vars(functional)


def hopeless(module: Module) -> bool:
    """Tell whether a module's calls are never one edge."""
    known = module.__dict__.get(EDGE)
    return known is False or (known is None and not of_the_library(type(module)))


def remember(module: Module, args: tuple[Any, ...], result: Any, at: Before) -> None:
    """Note what a call of a module recorded, to find it at once next time.

    Args:
        module: The module, called with `args` alone.
        args: Its arguments.
        result: What it returned.
        at: The trace before.
    """
    if not worth_it(args, at):
        return
    own = module.__dict__
    edge: Edge | None = own.get(EDGE)
    if edge is not None and edge.token.failures >= HOPELESS:
        return
    tree = Tree()
    if not tree.add(module):
        own[EDGE] = False
        return
    changed = recorder.changed
    if edge is None or changed is None or changed(edge.table) >= 0:
        edge = own[EDGE] = _described(tree)
        dicts = {id(d): d for d in tree.dicts}
        for kind in tree.kinds:
            dicts.update({id(d): d for d in _classes(kind)})
        dicts[id(_functions())] = _functions()
        edge.table = guarding.table_of(tree.modules, list(dicts.values()))
        edge.read(tree.tensors)
        edge.held = list(dicts.values()), [m.__dict__ for m in tree.modules[1:]]
    learn(edge, tree.tensors, args, result, at)


def _described(tree: Tree) -> Edge:
    content = tuple(tree.content)
    token = _tokens.get(content)
    if token is None:
        if len(_tokens) >= KEPT:
            _tokens.clear()
        token = _tokens[content] = Token()
    return Edge(token)
