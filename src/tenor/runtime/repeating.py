"""A call of `tn.compile` that is run again, as LLVM IR.

`pinned` does what `engine.pin.Pin` does where the call reads tensors and makes new ones: it tells
whether everything the call could find is what it was, launches its plan on the tensors as they are
now, and makes the results. It answers None, "look again", where anything is another way.
How the text is written: `runtime/cpython.py`.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SYMBOLS", "TEXT"]

SYMBOLS: Final = {
    "PyErr_Clear": "void ()",
    "PyList_New": "ptr (i64)",
    "PyLong_AsLongLong": "i64 (ptr)",
    "PyTuple_New": "ptr (i64)",
}
"""What of CPython is called."""

TEXT: Final = """
define internal i1 @settled(ptr %x, ptr %entry) {
  ; whether a tensor is a plain leaf in memory of the kind that is wanted, which nothing made
  %none = const None
  %is = call i1 @tensor(ptr %x)
  need %is else no
  %fits = call i1 @enterable(ptr %x, ptr %entry)
  need %fits else no
  %segment = slot Handle.segment %x
  %leaf = icmp eq ptr %segment, %none
  ret i1 %leaf
no:
  ret i1 false
}

define internal ptr @gather(ptr %quick, ptr %args) {
  ; the buffers of a program's inputs; null where it is to be looked at again
  %entries = slot Quick.entries %quick
  %captured = slot Quick.captured %quick
  %numbers = slot Quick.sources %quick
  %sources = bytes %numbers
  %many = length %entries
  %leaves = call ptr @PyList_New(i64 %many)
  some %leaves else short
  each %i of %many leaf
  %sourcep = getelementptr i64, ptr %sources, i64 %i
  %source = load i64, ptr %sourcep
  %given = icmp sge i64 %source, 0
  br i1 %given, label %argument, label %own
argument:
  %a = item %args %source
  br label %either
own:
  %number = xor i64 %source, -1
  %c = item %captured %number
  br label %either
either:
  %x = phi ptr [ %a, %argument ], [ %c, %own ]
  %entry = item %entries %i
  %fits = call i1 @settled(ptr %x, ptr %entry)
  need %fits else no
  %buffer = slot Handle.buffer %x
  hold %buffer
  fill %leaves %i %buffer
  next leaf
  ret ptr %leaves
no:
  drop %leaves
  ret ptr null
short:
  call void @PyErr_Clear()
  ret ptr null
}

define internal ptr @handles(i64 %n) {
  ; so many new handles; null with an error
  %none = const None
  %live = call ptr @PyList_New(i64 %n)
  some %live else short
  each %i of %n handle
  %h = call ptr @blank()
  some %h else no
  begin Handle.within %h %none
  fill %live %i %h
  next handle
  ret ptr %live
no:
  drop %live
  ret ptr null
short:
  ret ptr null
}

define ptr @pinned(ptr %self, ptr %args, i64 %n) {
  ; a recorded call, and what it is given: run it again
  %none = const None
  %local = const local
  %tracename = const trace
  %pinningname = const pinning
  %argsp = getelementptr ptr, ptr %args, i64 1
  %quick = load ptr, ptr %args
  %given = load ptr, ptr %argsp
  %count = length %given
  %wantedcount = slot Quick.count %quick
  %wanted = call i64 @PyLong_AsLongLong(ptr %wantedcount)
  %enough = icmp eq i64 %count, %wanted
  need %enough else miss
  %trace = call ptr @attribute(ptr %local, ptr %tracename)
  %grad = slot Trace.grad %trace
  %qgrad = slot Quick.grad %quick
  same %grad %qgrad else miss
  %mode = slot Trace.mode %trace
  %qmode = slot Quick.mode %quick
  same %mode %qmode else miss
  %open = call i1 @is(ptr %local, ptr %pinningname, ptr %none)
  need %open else miss
  %around = slot Quick.surroundings %quick
  %table = slot Surroundings.table %around
  %t = bytes %table
  %touched = call i64 @changed_in(ptr %t)
  %same = icmp eq i64 %touched, -1
  need %same else miss
  %leaves = call ptr @gather(ptr %quick, ptr %given)
  some %leaves else miss
  hold %quick
  %ready = slot Quick.ready %quick
  %launcher = slot Ready.launcher %ready
  %scalars = slot Quick.scalars %quick
  %metas = slot Ready.metas %ready
  %results = length %metas
  %live = call ptr @handles(i64 %results)
  some %live else unmade
  %outputs = call ptr @launch(ptr %launcher, ptr %leaves, ptr %scalars)
  some %outputs else unrun
  call void @store(ptr %live, ptr %ready, ptr %outputs, ptr %leaves)
  drop %outputs
  drop %leaves
  %answer = slot Quick.answer %quick
  %single = icmp eq ptr %answer, %none
  br i1 %single, label %one, label %several
one:
  %h = entry %live 0
  hold %h
  drop %live
  drop %quick
  ret ptr %h
several:
  %parts = length %answer
  %tuple = call ptr @PyTuple_New(i64 %parts)
  some %tuple else over
  each %p of %parts part
  %at = item %answer %p
  %place = call i64 @PyLong_AsLongLong(ptr %at)
  %q = entry %live %place
  hold %q
  put %tuple %p %q
  next part
  br label %over
over:
  drop %live
  drop %quick
  ret ptr %tuple
unrun:
  drop %live
  br label %unmade
unmade:
  drop %leaves
  drop %quick
  %again = call ptr @answer(ptr null)
  ret ptr %again
miss:
  hold %none
  ret ptr %none
}
"""
