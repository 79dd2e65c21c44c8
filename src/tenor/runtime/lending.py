"""What NumPy sees of a tensor, as LLVM IR.

`lend` does what `Tensor.numpy` does for a tensor in memory of its own, or one that a recorded
flush puts there: its array, by NumPy's own functions, on memory that is shared while it lives. It
answers None, "look again", for everything else.
How the text is written: `runtime/cpython.py`.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SYMBOLS", "TEXT"]

SYMBOLS: Final = {
    "PyBytes_AsString": "ptr (ptr)",
    "PyDict_GetItem": "ptr (ptr, ptr)",
    "PyErr_Clear": "void ()",
    "PyLong_AsLongLong": "i64 (ptr)",
    "PyLong_AsVoidPtr": "ptr (ptr)",
    "PyNumber_Add": "ptr (ptr, ptr)",
    "PyObject_GetAttr": "ptr (ptr, ptr)",
    "PyObject_RichCompareBool": "i32 (ptr, ptr, i32)",
    "PyTuple_Size": "i64 (ptr)",
    "PyType_GenericAlloc": "ptr (ptr, i64)",
    "Py_DecRef": "void (ptr)",
    "Py_IncRef": "void (ptr)",
}
"""What of CPython is called."""

TEXT: Final = """
define internal ptr @attribute(ptr %object, ptr %name) {
  ; an attribute, borrowed: the object, or its class, holds it
  %found = call ptr @PyObject_GetAttr(ptr %object, ptr %name)
  %some = icmp ne ptr %found, null
  need %some else no
  call void @Py_DecRef(ptr %found)
  ret ptr %found
no:
  call void @PyErr_Clear()
  ret ptr null
}

define internal i1 @resting(ptr %config, ptr %x) {
  ; whether a tensor's value is in memory
  %none = const None
  %true = const True
  %within = slot Handle.within %x
  %set = icmp ne ptr %within, null
  need %set else no
  %free = icmp eq ptr %within, %none
  br i1 %free, label %yes, label %ended
ended:
  %done = slot Trace.done %within
  %over = icmp eq ptr %done, %true
  ret i1 %over
yes:
  ret i1 true
no:
  ret i1 false
}

define internal ptr @array(ptr %config, ptr %buffer, ptr %meta) {
  ; an array on a buffer, which is shared while it lives; null where it is to be looked at again
  %Loan = const Loan
  %dtypes = const dtypes
  %one = const one
  %true = const True
  %kind = const ndarray
  %new = const new_array
  %based = const set_base
  %dtype = slot Meta.dtype %meta
  %descr = call ptr @PyDict_GetItem(ptr %dtypes, ptr %dtype)
  %known = icmp ne ptr %descr, null
  need %known else no
  %shape = slot Meta.shape %meta
  %dims = call i64 @PyTuple_Size(ptr %shape)
  %few = icmp sle i64 %dims, 16
  need %few else no
  %extents = alloca [16 x i64]
  each %i of %dims dim
  %n = item %shape %i
  %extent = call i64 @PyLong_AsLongLong(ptr %n)
  %some = icmp sgt i64 %extent, 0
  need %some else no
  %extentp = getelementptr i64, ptr %extents, i64 %i
  store i64 %extent, ptr %extentp
  next dim
  %loan = call ptr @PyType_GenericAlloc(ptr %Loan, i64 0)
  %l1 = icmp ne ptr %loan, null
  need %l1 else short
  keep View.buffer %loan %buffer
  %lent = slot Buffer.lent %buffer
  %lent1 = call ptr @PyNumber_Add(ptr %lent, ptr %one)
  keep Buffer.lent %buffer %lent1
  call void @Py_DecRef(ptr %lent1)
  %version = slot Buffer.version %buffer
  %version1 = call ptr @PyNumber_Add(ptr %version, ptr %one)
  keep Buffer.version %buffer %version1
  call void @Py_DecRef(ptr %version1)
  keep Buffer.shared %buffer %true
  call void @Py_IncRef(ptr %descr)
  %at = slot Buffer.pointer %buffer
  %pointer = call ptr @PyLong_AsVoidPtr(ptr %at)
  %rank = trunc i64 %dims to i32
  ; contiguous, aligned and writeable
  %made = call ptr %new(
    ptr %kind, ptr %descr, i32 %rank, ptr %extents, ptr null, ptr %pointer, i32 1281, ptr null)
  %m1 = icmp ne ptr %made, null
  need %m1 else back
  %r = call i32 %based(ptr %made, ptr %loan)
  ret ptr %made
back:
  call void @Py_DecRef(ptr %loan)
  br label %short
short:
  call void @PyErr_Clear()
  br label %no
no:
  ret ptr null
}

define ptr @lend(ptr %self, ptr %x) {
  %config = call ptr @PyBytes_AsString(ptr %self)
  %none = const None
  %true = const True
  %false = const False
  %Buffer = const Buffer
  %DETACH = const DETACH
  %local = const local
  %tracename = const trace
  %pinningname = const pinning
  %basename = const base
  %chainname = const chain
  %seenname = const seen
  %versionname = const version
  %buffername = const buffer
  %metaname = const meta
  %tensor = call i1 @tensor(ptr %config, ptr %x)
  need %tensor else miss
  %open = call i1 @is(ptr %config, ptr %local, ptr %pinningname, ptr %none)
  need %open else miss
  %base = call ptr @attribute(ptr %x, ptr %basename)
  %alone = icmp eq ptr %base, %none
  br i1 %alone, label %whole, label %view
view:
  %chain = call ptr @attribute(ptr %x, ptr %chainname)
  %links = call i64 @PyTuple_Size(ptr %chain)
  %short = icmp eq i64 %links, 1
  need %short else miss
  %link = item %chain 0
  %op = item %link 0
  %detached = icmp eq ptr %op, %DETACH
  need %detached else miss
  %seen = call ptr @attribute(ptr %x, ptr %seenname)
  %written = call ptr @attribute(ptr %base, ptr %versionname)
  %current = call i32 @PyObject_RichCompareBool(ptr %seen, ptr %written, i32 2)
  %fresh = icmp eq i32 %current, 1
  need %fresh else miss
  %root = call i1 @is(ptr %config, ptr %base, ptr %basename, ptr %none)
  br i1 %root, label %whole, label %miss
whole:
  %owner = select i1 %alone, ptr %x, ptr %base
  %mine = call i1 @resting(ptr %config, ptr %x)
  %theirs = call i1 @resting(ptr %config, ptr %owner)
  %stored = and i1 %mine, %theirs
  br i1 %stored, label %look, label %compute
compute:
  %trace = call ptr @attribute(ptr %local, ptr %tracename)
  %within = slot Handle.within %x
  %now = icmp eq ptr %within, %trace
  need %now else miss
  %ran = call ptr @flushed(ptr %config, ptr %trace)
  %done = icmp ne ptr %ran, null
  br i1 %done, label %look, label %again
look:
  %meta = call ptr @attribute(ptr %x, ptr %metaname)
  %grad = slot Meta.requires_grad %meta
  %free = icmp eq ptr %grad, %false
  need %free else miss
  %buffer = call ptr @attribute(ptr %owner, ptr %buffername)
  %type = typeof %buffer
  %plain = icmp eq ptr %type, %Buffer
  need %plain else miss
  %ours = call ptr @attribute(ptr %x, ptr %buffername)
  %same = icmp eq ptr %ours, %buffer
  need %same else miss
  %shared = slot Buffer.shared %buffer
  %lent = icmp eq ptr %shared, %true
  br i1 %lent, label %array, label %alone.too
alone.too:
  %references = load i32, ptr %buffer
  %holders = select i1 %alone, i32 1, i32 2
  %few = icmp ule i32 %references, %holders
  br i1 %few, label %array, label %miss
array:
  %made = call ptr @array(ptr %config, ptr %buffer, ptr %meta)
  %r = call ptr @answer(ptr %config, ptr %made)
  ret ptr %r
again:
  %r2 = call ptr @answer(ptr %config, ptr null)
  ret ptr %r2
miss:
  call void @Py_IncRef(ptr %none)
  ret ptr %none
}
"""
