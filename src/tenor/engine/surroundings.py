"""What a function sees besides its arguments: closures, globals, attributes, and how they were.

A replay of a compiled function repeats what it did with the Python values it found the first time.
It may do so only while they are what they were. What a function can find is read off its code: the
names it mentions, followed through the functions, modules and objects it mentions them on. Where
it finds what may change and cannot be looked into, such as an iterator, nothing is ever the same.
"""

from __future__ import annotations

import dis
import functools
import gc
import operator
import re
import struct
import sys
import threading
from collections import OrderedDict, defaultdict, deque
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    GenericAlias,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    UnionType,
    WrapperDescriptorType,
)
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from tenor.engine.call import exact
from tenor.engine.handle import Handle
from tenor.ir.dtype import DType
from tenor.runtime.guarding import table_of, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["PLAIN", "Surroundings"]

PLAIN: Final = (bool, int, float, complex, str, bytes, type(None), DType)
CONTAINERS: Final = (
    tuple, list, set, frozenset, dict, deque, bytearray, OrderedDict, defaultdict, MappingProxyType,
)  # fmt: skip
"""Containers that are looked into."""
METHODS: Final = (
    MethodType, BuiltinFunctionType, MethodWrapperType, functools.partial, staticmethod,
    classmethod,
)  # fmt: skip
"""What is called with something else: what that is, is looked at."""
INERT: Final = (
    ClassMethodDescriptorType, CodeType, GenericAlias, GetSetDescriptorType, MemberDescriptorType,
    MethodDescriptorType, UnionType, WrapperDescriptorType, type(...), type(NotImplemented), range,
    slice, re.Pattern, operator.attrgetter, operator.itemgetter, operator.methodcaller,
    type(threading.Lock()), type(threading.RLock()), np.dtype, np.generic, np.ufunc,
)  # fmt: skip
"""What never changes, or changes no computation."""
OPEN: Final = frozenset((*PLAIN, *CONTAINERS, BaseException))
"""Types written in C that keep nothing but what is looked at here."""
LONGEST: Final = 1024
"""Elements of a list or dict that are compared one by one; a longer one is known by its length."""
INSTALLED: Final = ("site-packages", "dist-packages")
"""Folders of packages that are nobody's to change."""
MAKING: Final = frozenset(("__init__", "__new__", "__post_init__", "__repr__"))
"""Special methods that no computation on an object calls by itself."""
MISSING: Final = object()


class Checks(NamedTuple):
    """What is compared with what it was.

    Attributes:
        places: What is read again, how, and what was there.
        empty: Containers that had nothing in them.
        absent: Dictionaries of attributes, and names that were not there.
    """

    places: list[tuple[Any, Callable[[Any], Any], tuple[Any, ...]]]
    empty: list[Any]
    absent: list[tuple[Any, frozenset[str]]]

    def hold(self) -> bool:
        """Tell whether everything is what it was."""
        if any(self.empty):
            return False
        for own, names in self.absent:
            if not own.keys().isdisjoint(names):
                return False
        try:
            for place, read, before in self.places:
                now = read(place)
                if len(now) != len(before):
                    return False
                if not all(map(operator.is_, now, before)) and not all(map(_equal, now, before)):
                    return False
        except KeyError:  # an attribute is gone
            return False
        return True


class Surroundings:
    """What a function can find, as it was when this was made.

    Args:
        function: The function, method or object that is called.
        others: What it is given besides tensors.

    Attributes:
        others: As given; they live as long as this.
        tensors: The tensors among it.
        rest: What is compared each time.
        dicts: Dictionaries, and what is compared where one of them was changed.
        table: Their versions when they were last compared; see `runtime.guarding`.
        loose: Whether there is a rest.
        understood: Whether there was nothing that may change and cannot be looked into.
    """

    __slots__ = ("dicts", "loose", "others", "rest", "table", "tensors", "understood")

    def __init__(self, function: Any, others: Iterable[Any]) -> None:
        self.others = tuple(others)
        self.tensors: list[Handle] = []
        self.rest = Checks([], [], [])
        self.dicts: dict[int, tuple[dict[Any, Any], Checks]] = {}
        self.table = b""
        self.understood = True
        found = _Search(self)
        for value in (function, *self.others):
            found.visit(value)
        found.settle()
        self.loose = any(self.rest)

    def same(self, changed: Callable[[bytes], int] | None = None) -> bool:
        """Tell whether everything is what it was.

        Args:
            changed: Finds the first dictionary that has another version than before; None where
                versions are not known.
        """
        if not self.understood:
            return False
        groups = list(self.dicts.values())
        if changed is None:
            return all(checks.hold() for _, checks in groups) and self.rest.hold()
        if not self.table:
            table = table_of((), [of for of, _ in groups])
            if not all(checks.hold() for _, checks in groups):
                return False
            self.table = table
        while (at := changed(self.table)) >= 0:
            of, checks = groups[at]
            version, place = struct.pack("=Q", version_of(of)), 24 + 16 * at
            if not checks.hold():
                return False
            self.table = self.table[:place] + version + self.table[place + 8 :]
        return self.rest.hold()

    def touched(self, changed: Callable[[bytes], int] | None) -> bool:
        """Tell whether a dictionary was changed since the last time, but nothing that was found."""
        return changed is not None and changed(self.table) >= 0 and self.same(changed)

    def checks_of(self, place: Any) -> Checks:
        """Return where to note what is read from a place: with its dictionary, if it is one."""
        of = gc.get_referents(place)[0] if type(place) is MappingProxyType else place
        kind = type(of)
        ours = isinstance(of, dict) and kind.__module__.partition(".")[0] == "tenor"
        if not ours and kind is not dict and kind is not defaultdict:
            return self.rest  # what it answers may be anything
        return self.dicts.setdefault(id(of), (of, Checks([], [], [])))[1]

    def watch(self, place: Any, read: Callable[[Any], Any]) -> None:
        """Note what is read from a place."""
        values = tuple(read(place))
        # What lies in an array may change where no dictionary does.
        loose = any(isinstance(value, np.ndarray) for value in values)
        checks = self.rest if loose else self.checks_of(place)
        checks.places.append((place, read, tuple(map(_kept, values))))

    def watch_names(self, own: Any, names: set[str]) -> None:
        """Note what is found under names in a dictionary, and under which there is nothing."""
        there = names & own.keys()
        if there:
            self.watch(own, operator.itemgetter(*there, next(iter(there))))  # two at least: a tuple
        if names - there:
            self.checks_of(own).absent.append((own, frozenset(names - there)))


class _Search:
    """Follows values to what can be found from them, by the names that code mentions."""

    def __init__(self, found: Surroundings) -> None:
        self.found = found
        self.seen: dict[int, Any] = {}
        self.names = {"forward"}
        self.owners: list[Any] = []

    def visit(self, value: Any) -> None:
        """Note what a value leads to."""
        if type(value) in PLAIN or id(value) in self.seen:
            return
        self.seen[id(value)] = value
        if isinstance(value, Handle):
            self.found.tensors.append(value)
        elif isinstance(value, METHODS):
            for part in ("__self__", "__func__", "func", "args", "keywords"):
                self.visit(getattr(value, part, None))
        elif isinstance(value, property):
            self.visit(value.fget)
        elif isinstance(value, FunctionType):
            self.visit_function(value)
        elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
            self.found.watch(value, lambda v: (v,))
        elif "__wrapped__" in getattr(value, "__dict__", ()):  # a cache, or compiled itself
            self.visit(value.__wrapped__)
        elif not isinstance(value, INERT):
            if isinstance(value, CONTAINERS):
                self.visit_container(value)
            if type(value) not in CONTAINERS and _watched(value):
                self.visit_object(value)

    def visit_object(self, value: Any) -> None:
        """Follow the attributes of an object, and the methods of its class."""
        if not isinstance(value, (type, ModuleType)) and _hides(_kind(value)):
            self.found.understood = False
            return
        self.owners.append(value)
        for kind in type(value).__mro__[:-1]:
            self.visit(kind)

    def visit_function(self, function: FunctionType) -> None:
        """Follow a function's globals, closure and defaults."""
        if _library(function.__module__):
            return
        code, outside = function.__code__, function.__globals__
        self.names |= _mentioned(code)
        names = {name for name in _globals(code) if name in outside}
        self.found.watch_names(outside, names)
        modules = _imports(code, outside.get("__package__") or "")
        self.found.watch_names(sys.modules, set(modules))
        for name in modules & sys.modules.keys():
            self.visit(sys.modules[name])
        if function.__closure__ or function.__defaults__ or function.__kwdefaults__:
            self.found.watch(function, _contents)
        for value in (*[outside[name] for name in names], *_contents(function)):
            self.visit(value)

    def visit_container(self, value: Any) -> None:
        """Follow the elements of a container."""
        watch = self.found.watch
        if not value:
            self.found.checks_of(value).empty.append(value)
        elif len(value) > LONGEST:
            watch(value, lambda v: (len(v),))
            return
        elif isinstance(value, (dict, MappingProxyType)):
            watch(value, lambda v: (*v, *v.values()))
        elif isinstance(value, (list, deque, bytearray)):
            watch(value, tuple)
        elif isinstance(value, set):
            watch(value, lambda v: (frozenset(v),))
        for inner in value.values() if isinstance(value, (dict, MappingProxyType)) else value:
            self.visit(inner)

    def settle(self) -> None:
        """Follow attributes until no new name and no new object turns up, and watch them."""
        before = -1
        while before < len(self.names) + len(self.owners):
            before = len(self.names) + len(self.owners)
            for owner in list(self.owners):
                names = self.names | _inherited(_kind(owner))
                for name, value in (*_slotted(owner), *_own(owner).items()):
                    implied = name[:2] == "__" and name not in MAKING
                    if name in names or (implied and isinstance(value, FunctionType)):
                        self.visit(value)
        for owner in self.owners:
            names = self.names | _inherited(_kind(owner))
            self.found.watch_names(_own(owner), names)
            if any(name in names for name, _ in _slotted(owner)):
                self.found.watch(owner, functools.partial(_read, names))


def _kind(owner: Any) -> type:
    return owner if isinstance(owner, type) else type(owner)


def _own(owner: Any) -> Any:
    """Return the dictionary of an object's attributes."""
    return getattr(owner, "__dict__", {})


@functools.cache
def _slots(kind: type) -> dict[str, Any]:
    """Return what reads the attributes that an object of a class keeps outside a dictionary."""
    if issubclass(kind, (type, ModuleType)):
        return {}
    return {
        name: reader
        for base in reversed(kind.__mro__)
        for name, reader in vars(base).items()
        if isinstance(reader, MemberDescriptorType) and name != "__dict__"
    }


def _slotted(owner: Any) -> list[tuple[str, Any]]:
    """Return the attributes that an object keeps in slots; MISSING where one is unset."""
    found: list[tuple[str, Any]] = []
    kind: type = type(owner)
    for name, reader in _slots(kind).items():
        try:
            found.append((name, reader.__get__(owner)))
        except AttributeError:
            found.append((name, MISSING))
    return found


def _read(names: set[str], owner: Any) -> list[Any]:
    """Return what an object's slots of these names hold."""
    return [value for name, value in _slotted(owner) if name in names]


@functools.cache
def _hides(kind: type) -> bool:
    """Tell whether objects of a class keep more than attributes: memory that has no name."""
    for base in kind.__mro__[:-1]:
        if base in OPEN:
            continue
        under = base.__base__
        named = [n for n, a in vars(base).items() if isinstance(a, MemberDescriptorType)]
        more = base.__basicsize__ - (under.__basicsize__ if under else 0)
        pointers = len({*named, *({"__dict__", "__weakref__"} & vars(base).keys())})
        if more > pointers * struct.calcsize("P"):
            return True
    return False


@functools.cache
def _inherited(kind: type) -> frozenset[str]:
    """Return every name mentioned by the methods that a module or container has of a library."""
    if getattr(kind, "watched", False) is not True and not hasattr(kind, "__getitem__"):
        return frozenset()
    methods = [
        method.__code__
        for base in kind.__mro__
        if _library(base.__module__)
        for method in vars(base).values()
        if isinstance(method, FunctionType)
    ]
    return frozenset().union(*map(_mentioned, methods))


def _library(module: str | None) -> bool:
    """Tell whether a module is installed, and so nobody's to change."""
    return _installed((module or "").partition(".")[0])


@functools.cache
def _installed(package: str) -> bool:
    if package == "tenor" or package in sys.stdlib_module_names:
        return True
    found = getattr(sys.modules.get(package), "__file__", None)
    return found is not None and any(folder in found for folder in INSTALLED)


def _watched(value: Any) -> bool:
    """Tell whether an object's attributes are a user's to change."""
    if isinstance(value, ModuleType):
        return not _library(value.__name__)
    if isinstance(value, type):
        return not _library(value.__module__)
    ours = type(value).__module__.partition(".")[0] == "tenor"
    return not ours or getattr(type(value), "watched", False) is True


@functools.lru_cache(maxsize=4096)
def _mentioned(code: CodeType) -> frozenset[str]:
    """Return every name a piece of code mentions, also in the functions it makes."""
    found = {*code.co_names}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _mentioned(constant)
        elif isinstance(constant, str) and constant.isidentifier():
            found.add(constant)  # getattr(x, "name")
    return frozenset(found)


@functools.lru_cache(maxsize=4096)
def _globals(code: CodeType) -> frozenset[str]:
    """Return the globals a piece of code reads, also in the functions it makes."""
    reads = ("LOAD_GLOBAL", "LOAD_NAME")
    found = {i.argval for i in dis.get_instructions(code) if i.opname in reads}
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    return frozenset(found.union(*map(_globals, inner)))


@functools.lru_cache(maxsize=4096)
def _imports(code: CodeType, package: str) -> frozenset[str]:
    """Return the modules a piece of code may mean where it imports, also in functions it makes."""
    parts = package.split(".") if package else []
    around = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    found: set[str] = set()
    for name in (i.argval for i in dis.get_instructions(code) if i.opname == "IMPORT_NAME"):
        path = name.split(".")
        found.update(".".join(path[:n]) for n in range(1, len(path) + 1))
        found.update(f"{start}.{name}".rstrip(".") for start in around)
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    return (frozenset(found) - {""}).union(*[_imports(c, package) for c in inner])


def _contents(function: FunctionType) -> list[Any]:
    """Return what a function closes over, and its defaults."""
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:
            found.append(MISSING)
    return [*found, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]


def _kept(value: Any) -> Any:
    """Return what a value is compared with later: a small array is copied."""
    if isinstance(value, np.ndarray) and value.nbytes <= 1 << 16:
        return value, value.copy()
    return value


def _equal(now: Any, before: Any) -> bool:
    if now is before:
        return True
    if isinstance(now, np.ndarray) and isinstance(before, tuple):
        same, copy = before
        return now is same and bool(np.array_equal(now, copy))
    if type(now) is not type(before):
        return False
    if isinstance(now, tuple):
        return len(now) == len(before) and all(map(_equal, now, before))
    if isinstance(now, (*PLAIN, frozenset)):
        return bool(now == before) and exact(now) == exact(before)
    if isinstance(now, MethodType):
        return now.__self__ is before.__self__ and now.__func__ is before.__func__
    return False
