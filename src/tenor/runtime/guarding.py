"""Whether objects are what they were, and a module's call found by that, as LLVM IR.

CPython gives a dictionary another version at each change. A table of dictionaries and versions
therefore says of any number of attributes at once that nobody has touched them; where this
interpreter has no such numbers (`counts_versions`) none of this is used.
How the text is written: `runtime/cpython.py`.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SYMBOLS", "TEXT", "counts_versions", "table_of", "version_of"]

VERSION: Final = 24
"""Where the version is in CPython's PyDictObject."""
SYMBOLS: Final = {
    "PyLong_FromLongLong": "ptr (i64)",
    "PyObject_GenericGetDict": "ptr (ptr, ptr)",
}


def version_of(of: dict[Any, Any]) -> int:
    """Return the version of a dictionary."""
    return int(ctypes.c_uint64.from_address(id(of) + VERSION).value)


def counts_versions() -> bool:
    """Tell whether this interpreter counts every change of a dictionary."""

    class Probe:
        made = 0

    probe = Probe()
    own = probe.__dict__
    changes = (
        lambda: setattr(probe, "a", 1), lambda: setattr(probe, "a", 2),
        lambda: own.update(a=3), lambda: own.__setitem__("b", 4), lambda: own.pop("b"),
        lambda: delattr(probe, "a"), own.clear, lambda: own.setdefault("c", 5),
    )  # fmt: skip
    seen = [version_of(own), version_of({}), version_of({})]
    before = seen[0]
    probe.__dict__.get("a")
    if version_of(own) != before or probe.__dict__ is not own:
        return False
    for change in changes:
        change()
        seen.append(version_of(own))
    return len(set(seen)) == len(seen) and all(seen)


def table_of(objects: Sequence[object], dicts: Sequence[dict[Any, Any]]) -> bytes:
    """Return a table of objects as they are, each with its dictionary, and of further dictionaries.

    It holds none of them: whoever uses it holds the dictionaries, and by them the objects but for
    the first.
    """
    words = [len(objects), len(dicts)]
    for x in objects:
        words += [id(x), id(type(x)), id(x.__dict__), version_of(x.__dict__)]
    for d in dicts:
        words += [id(d), version_of(d)]
    return struct.pack(f"={len(words)}Q", *words)


TEXT: Final = """
define internal i64 @changed_in(ptr %t) {
  ; the number of the first entry of a table that is not what it was; -1 where all are
  %many = word 0 %t
  %more = word 1 %t
  %size = mul i64 %many, 32
  %size2 = add i64 %size, 16
  %rest = getelementptr i8, ptr %t, i64 %size2
  ; dictionaries first: they hold the objects
  each %j of %more dict
  %jat = mul i64 %j, 16
  %f = getelementptr i8, ptr %rest, i64 %jat
  %g = place 0 %f
  %gversion = word 1 %f
  %gnow = word VERSION %g
  %gkept = icmp eq i64 %gnow, %gversion
  need %gkept else dict.no
  next dict
  each %i of %many object
  %at = mul i64 %i, 32
  %at2 = add i64 %at, 16
  %e = getelementptr i8, ptr %t, i64 %at2
  %o = place 0 %e
  %kind = place 1 %e
  %d = place 2 %e
  %version = word 3 %e
  %type = typeof %o
  same %type %kind else object.no
  %own = call ptr @PyObject_GenericGetDict(ptr %o, ptr null)
  %same = icmp eq ptr %own, %d
  some %own else none
  drop %own
  need %same else object.no
  %now = word VERSION %d
  %kept = icmp eq i64 %now, %version
  need %kept else object.no
  next object
  ret i64 -1
none:
  call void @PyErr_Clear()
  br label %object.no
object.no:
  ret i64 %i
dict.no:
  %number = add i64 %many, %j
  ret i64 %number
}

define ptr @changed(ptr %self, ptr %table) {
  %t = bytes %table
  %number = call i64 @changed_in(ptr %t)
  %answer = call ptr @PyLong_FromLongLong(i64 %number)
  ret ptr %answer
}

define ptr @module(ptr %self, ptr %args, i64 %n) {
  ; a module, and what it is given: take the edge of its call
  %four = alloca [4 x ptr]
  %none = const None
  %Edge = const Edge
  %local = const local
  %tracename = const trace
  %pinningname = const pinning
  %edgename = const _edge
  %nodict = const nodict
  %argsp = getelementptr ptr, ptr %args, i64 1
  %owner = load ptr, ptr %args
  %given = load ptr, ptr %argsp
  %own = call ptr @PyObject_GenericGetDict(ptr %owner, ptr null)
  some %own else clear
  %edge = call ptr @PyDict_GetItem(ptr %own, ptr %edgename)
  drop %own
  some %edge else miss
  %type = typeof %edge
  same %type %Edge else miss
  %table = slot Edge.table %edge
  %written = length %table
  %described = icmp ne i64 %written, 0
  need %described else miss
  %t = bytes %table
  %first = place 2 %t
  same %first %owner else miss
  %open = call i1 @is(ptr %local, ptr %pinningname, ptr %none)
  need %open else miss
  %touched = call i64 @changed_in(ptr %t)
  %same = icmp eq i64 %touched, -1
  need %same else miss
  %token = slot Edge.token %edge
  %tensors = slot Edge.tensors %edge
  %length = length %tensors
  %read = icmp ne i64 %length, 0
  need %read else miss
  %p = bytes %tensors
  %many = word 0 %p
  %count = length %given
  %size = add i64 %count, %many
  %all = call ptr @PyTuple_New(i64 %size)
  some %all else clear
  each %i of %count argument
  %a = item %given %i
  hold %a
  put %all %i %a
  next argument
  each %j of %many tensor
  %j1 = add i64 %j, 1
  %xp = getelementptr ptr, ptr %p, i64 %j1
  %x = load ptr, ptr %xp
  hold %x
  %k = add i64 %count, %j
  put %all %k %x
  next tensor
  %trace = call ptr @attribute(ptr %local, ptr %tracename)
  store ptr %trace, ptr %four
  %four1 = getelementptr ptr, ptr %four, i64 1
  store ptr %token, ptr %four1
  %four2 = getelementptr ptr, ptr %four, i64 2
  store ptr %all, ptr %four2
  %four3 = getelementptr ptr, ptr %four, i64 3
  store ptr %nodict, ptr %four3
  %result = call ptr @replay(ptr %self, ptr %four, i64 4)
  drop %all
  ret ptr %result
clear:
  call void @PyErr_Clear()
  br label %miss
miss:
  hold %none
  ret ptr %none
}
""".replace("VERSION", str(VERSION // 8))
