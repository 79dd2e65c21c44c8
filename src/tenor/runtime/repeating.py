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
    "PyBytes_AsString": "ptr (ptr)",
    "PyErr_Clear": "void ()",
    "PyList_GetItem": "ptr (ptr, i64)",
    "PyList_New": "ptr (i64)",
    "PyList_SetItem": "i32 (ptr, i64, ptr)",
    "PyLong_AsLongLong": "i64 (ptr)",
    "PyObject_CallNoArgs": "ptr (ptr)",
    "PyObject_GetAttr": "ptr (ptr, ptr)",
    "PyTuple_New": "ptr (i64)",
    "PyTuple_SetItem": "i32 (ptr, i64, ptr)",
    "PyTuple_Size": "i64 (ptr)",
    "Py_DecRef": "void (ptr)",
    "Py_IncRef": "void (ptr)",
}
"""What of CPython is called."""

TEXT: Final = """
define internal i1 @settled(ptr %config, ptr %x, ptr %entry) {
  ; whether a tensor is a plain leaf in memory of the kind that is wanted, which nothing made
  %none = const None
  %segmentname = const segment
  %is = call i1 @tensor(ptr %config, ptr %x)
  need %is else no
  %fits = call i1 @enterable(ptr %config, ptr %x, ptr %entry)
  need %fits else no
  %leaf = call i1 @is(ptr %config, ptr %x, ptr %segmentname, ptr %none)
  ret i1 %leaf
no:
  ret i1 false
}

define internal ptr @gather(ptr %config, ptr %quick, ptr %args) {
  ; the buffers of a program's inputs; null where it is to be looked at again
  %buffername = const buffer
  %entries = slot Quick.entries %quick
  %captured = slot Quick.captured %quick
  %numbers = slot Quick.sources %quick
  %sources = call ptr @PyBytes_AsString(ptr %numbers)
  %many = call i64 @PyTuple_Size(ptr %entries)
  %leaves = call ptr @PyList_New(i64 %many)
  %made = icmp ne ptr %leaves, null
  need %made else short
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
  %fits = call i1 @settled(ptr %config, ptr %x, ptr %entry)
  need %fits else no
  %buffer = call ptr @PyObject_GetAttr(ptr %x, ptr %buffername)
  %some = icmp ne ptr %buffer, null
  need %some else unset
  %r = call i32 @PyList_SetItem(ptr %leaves, i64 %i, ptr %buffer)
  next leaf
  ret ptr %leaves
unset:
  call void @PyErr_Clear()
  br label %no
no:
  call void @Py_DecRef(ptr %leaves)
  ret ptr null
short:
  call void @PyErr_Clear()
  ret ptr null
}

define internal ptr @handles(ptr %config, i64 %n) {
  ; so many new handles; null with an error
  %none = const None
  %make = const make
  %live = call ptr @PyList_New(i64 %n)
  %made = icmp ne ptr %live, null
  need %made else short
  each %i of %n handle
  %h = call ptr @PyObject_CallNoArgs(ptr %make)
  %some = icmp ne ptr %h, null
  need %some else no
  keep Handle.within %h %none
  %r = call i32 @PyList_SetItem(ptr %live, i64 %i, ptr %h)
  next handle
  ret ptr %live
no:
  call void @Py_DecRef(ptr %live)
  ret ptr null
short:
  ret ptr null
}

define ptr @pinned(ptr %self, ptr %args, i64 %n) {
  ; a recorded call, and what it is given: run it again
  %config = call ptr @PyBytes_AsString(ptr %self)
  %none = const None
  %local = const local
  %tracename = const trace
  %pinningname = const pinning
  %argsp = getelementptr ptr, ptr %args, i64 1
  %quick = load ptr, ptr %args
  %given = load ptr, ptr %argsp
  %count = call i64 @PyTuple_Size(ptr %given)
  %wantedcount = slot Quick.count %quick
  %wanted = call i64 @PyLong_AsLongLong(ptr %wantedcount)
  %enough = icmp eq i64 %count, %wanted
  need %enough else miss
  %trace = call ptr @attribute(ptr %local, ptr %tracename)
  %grad = slot Trace.grad %trace
  %qgrad = slot Quick.grad %quick
  %grads = icmp eq ptr %grad, %qgrad
  need %grads else miss
  %mode = slot Trace.mode %trace
  %qmode = slot Quick.mode %quick
  %modes = icmp eq ptr %mode, %qmode
  need %modes else miss
  %open = call i1 @is(ptr %config, ptr %local, ptr %pinningname, ptr %none)
  need %open else miss
  %around = slot Quick.surroundings %quick
  %table = slot Surroundings.table %around
  %t = call ptr @PyBytes_AsString(ptr %table)
  %touched = call i64 @changed_in(ptr %t)
  %same = icmp eq i64 %touched, -1
  need %same else miss
  %leaves = call ptr @gather(ptr %config, ptr %quick, ptr %given)
  %fit = icmp ne ptr %leaves, null
  need %fit else miss
  call void @Py_IncRef(ptr %quick)
  %ready = slot Quick.ready %quick
  %launcher = slot Ready.launcher %ready
  %scalars = slot Quick.scalars %quick
  %metas = slot Ready.metas %ready
  %results = call i64 @PyTuple_Size(ptr %metas)
  %live = call ptr @handles(ptr %config, i64 %results)
  %made = icmp ne ptr %live, null
  need %made else unmade
  %outputs = call ptr @launch(ptr %config, ptr %launcher, ptr %leaves, ptr %scalars)
  %ran = icmp ne ptr %outputs, null
  need %ran else unrun
  call void @store(ptr %config, ptr %live, ptr %ready, ptr %outputs, ptr %leaves)
  call void @Py_DecRef(ptr %outputs)
  call void @Py_DecRef(ptr %leaves)
  %answer = slot Quick.answer %quick
  %single = icmp eq ptr %answer, %none
  br i1 %single, label %one, label %several
one:
  %h = call ptr @PyList_GetItem(ptr %live, i64 0)
  call void @Py_IncRef(ptr %h)
  call void @Py_DecRef(ptr %live)
  call void @Py_DecRef(ptr %quick)
  ret ptr %h
several:
  %parts = call i64 @PyTuple_Size(ptr %answer)
  %tuple = call ptr @PyTuple_New(i64 %parts)
  %tupled = icmp ne ptr %tuple, null
  need %tupled else over
  each %p of %parts part
  %at = item %answer %p
  %place = call i64 @PyLong_AsLongLong(ptr %at)
  %q = call ptr @PyList_GetItem(ptr %live, i64 %place)
  call void @Py_IncRef(ptr %q)
  %r = call i32 @PyTuple_SetItem(ptr %tuple, i64 %p, ptr %q)
  next part
  br label %over
over:
  call void @Py_DecRef(ptr %live)
  call void @Py_DecRef(ptr %quick)
  ret ptr %tuple
unrun:
  call void @Py_DecRef(ptr %live)
  br label %unmade
unmade:
  call void @Py_DecRef(ptr %leaves)
  call void @Py_DecRef(ptr %quick)
  %again = call ptr @answer(ptr %config, ptr null)
  ret ptr %again
miss:
  call void @Py_IncRef(ptr %none)
  ret ptr %none
}
"""
