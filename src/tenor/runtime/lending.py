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
    "PyDict_GetItem": "ptr (ptr, ptr)",
    "PyErr_Clear": "void ()",
    "PyLong_AsLongLong": "i64 (ptr)",
    "PyLong_AsVoidPtr": "ptr (ptr)",
    "PyLong_FromLongLong": "ptr (i64)",
    "PyNumber_Add": "ptr (ptr, ptr)",
    "PyObject_GetAttr": "ptr (ptr, ptr)",
    "PyObject_GetItem": "ptr (ptr, ptr)",
    "PyTuple_New": "ptr (i64)",
    "PyType_GenericAlloc": "ptr (ptr, i64)",
}
"""What of CPython is called."""

TEXT: Final = """
define internal ptr @attribute(ptr %object, ptr %name) {
  ; an attribute, borrowed: the object, or its class, holds it
  %found = call ptr @PyObject_GetAttr(ptr %object, ptr %name)
  some %found else no
  drop %found
  ret ptr %found
no:
  call void @PyErr_Clear()
  ret ptr null
}

define internal ptr @array(ptr %buffer, ptr %meta) {
  ; an array on a buffer, which is shared while it lives; null where it is to be looked at again
  %extents = alloca [16 x i64]
  %Loan = const Loan
  %dtypes = const dtypes
  %one = const one
  %true = const True
  %kind = const ndarray
  %new = const new_array
  %based = const set_base
  %dtype = slot Meta.dtype %meta
  %descr = call ptr @PyDict_GetItem(ptr %dtypes, ptr %dtype)
  some %descr else no
  %shape = slot Meta.shape %meta
  %dims = length %shape
  %few = icmp sle i64 %dims, 16
  need %few else no
  each %i of %dims dim
  %n = item %shape %i
  %extent = call i64 @PyLong_AsLongLong(ptr %n)
  %some = icmp sgt i64 %extent, 0
  need %some else no
  %extentp = getelementptr i64, ptr %extents, i64 %i
  store i64 %extent, ptr %extentp
  next dim
  %lent = slot Buffer.lent %buffer
  %lent1 = call ptr @PyNumber_Add(ptr %lent, ptr %one)
  %version = slot Buffer.version %buffer
  %version1 = call ptr @PyNumber_Add(ptr %version, ptr %one)
  %loan = call ptr @PyType_GenericAlloc(ptr %Loan, i64 0)
  %c1 = icmp ne ptr %lent1, null
  %c2 = icmp ne ptr %version1, null
  %c3 = icmp ne ptr %loan, null
  %c12 = and i1 %c1, %c2
  %c = and i1 %c12, %c3
  need %c else short
  begin View.buffer %loan %buffer
  keep Buffer.lent %buffer %lent1
  drop %lent1
  keep Buffer.version %buffer %version1
  drop %version1
  keep Buffer.shared %buffer %true
  hold %descr
  %at = slot Buffer.pointer %buffer
  %pointer = call ptr @PyLong_AsVoidPtr(ptr %at)
  %rank = trunc i64 %dims to i32
  ; contiguous, aligned and writeable
  %made = call ptr %new(
    ptr %kind, ptr %descr, i32 %rank, ptr %extents, ptr null, ptr %pointer, i32 1281, ptr null)
  some %made else back
  ; the array takes the loan, or lets it go with an error
  %r = call i32 %based(ptr %made, ptr %loan)
  %lives = icmp eq i32 %r, 0
  need %lives else unbased
  ret ptr %made
unbased:
  drop %made
  br label %clear
back:
  drop %loan
  br label %clear
short:
  drop %lent1
  drop %version1
  drop %loan
  br label %clear
clear:
  call void @PyErr_Clear()
  br label %no
no:
  ret ptr null
}

define ptr @lend(ptr %self, ptr %x) {
  %none = const None
  %true = const True
  %false = const False
  %Buffer = const Buffer
  %DETACH = const DETACH
  %local = const local
  %tracename = const trace
  %pinningname = const pinning
  %tensor = call i1 @tensor(ptr %x)
  need %tensor else miss
  %open = call i1 @is(ptr %local, ptr %pinningname, ptr %none)
  need %open else miss
  %base = slot Handle.base %x
  some %base else miss
  %alone = icmp eq ptr %base, %none
  br i1 %alone, label %whole, label %view
view:
  %chain = slot Handle.chain %x
  %links = length %chain
  %short = icmp eq i64 %links, 1
  need %short else miss
  %link = item %chain 0
  %op = item %link 0
  same %op %DETACH else miss
  %fresh = call i1 @derived_now(ptr %x)
  need %fresh else miss
  %above = slot Handle.base %base
  %root = icmp eq ptr %above, %none
  br i1 %root, label %whole, label %miss
whole:
  %owner = select i1 %alone, ptr %x, ptr %base
  %mine = call i1 @resting(ptr %x)
  %theirs = call i1 @resting(ptr %owner)
  %stored = and i1 %mine, %theirs
  br i1 %stored, label %look, label %compute
compute:
  %trace = call ptr @attribute(ptr %local, ptr %tracename)
  %within = slot Handle.within %x
  same %within %trace else miss
  %ran = call ptr @flushed()
  %done = icmp ne ptr %ran, null
  br i1 %done, label %look, label %again
look:
  %buffer = slot Handle.buffer %owner
  some %buffer else miss
  %type = typeof %buffer
  same %type %Buffer else miss
  %ours = slot Handle.buffer %x
  same %ours %buffer else miss
  %Meta = const Meta
  %meta = slot Handle.meta %x
  %metatype = typeof %meta
  same %metatype %Meta else miss
  %grad = slot Meta.requires_grad %meta
  same %grad %false else miss
  %shared = slot Buffer.shared %buffer
  %lent = icmp eq ptr %shared, %true
  br i1 %lent, label %array, label %alone.too
alone.too:
  %references = load i32, ptr %buffer
  %holders = select i1 %alone, i32 1, i32 2
  %few = icmp ule i32 %references, %holders
  br i1 %few, label %array, label %miss
array:
  %made = call ptr @array(ptr %buffer, ptr %meta)
  %r = call ptr @answer(ptr %made)
  ret ptr %r
again:
  %r2 = call ptr @answer(ptr null)
  ret ptr %r2
miss:
  hold %none
  ret ptr %none
}

define ptr @buffer_gone(ptr %b, ptr %nothing) {
  ; Buffer.__del__: memory that nobody else can see is kept for reuse
  %none = const None
  %false = const False
  %free = const free
  %counted = const counted
  %capacity = slot Buffer.capacity %b
  some %capacity else end
  %bytes = call i64 @PyLong_AsLongLong(ptr %capacity)
  %some = icmp sgt i64 %bytes, 0
  need %some else end
  %live = load i64, ptr %counted
  %live1 = sub i64 %live, %bytes
  store i64 %live1, ptr %counted
  %shared = slot Buffer.shared %b
  same %shared %false else end
  %cachedp = getelementptr i8, ptr %counted, i64 8
  %cached = load i64, ptr %cachedp
  %cached1 = add i64 %cached, %bytes
  %limitp = getelementptr i8, ptr %counted, i64 16
  %limit = load i64, ptr %limitp
  %few = icmp sle i64 %cached1, %limit
  need %few else end
  %pair = call ptr @PyTuple_New(i64 2)
  some %pair else fail
  %pointer = slot Buffer.pointer %b
  hold %pointer
  put %pair 0 %pointer
  %owner = slot Buffer.owner %b
  hold %owner
  put %pair 1 %owner
  %list = call ptr @PyObject_GetItem(ptr %free, ptr %capacity)
  some %list else full
  %r = call i32 @append(ptr %list, ptr %pair)
  drop %list
  drop %pair
  %fine = icmp eq i32 %r, 0
  need %fine else fail
  ; a collection may have let other buffers go meanwhile
  %before = load i64, ptr %cachedp
  %after = add i64 %before, %bytes
  store i64 %after, ptr %cachedp
  br label %end
full:
  drop %pair
  br label %fail
fail:
  call void @PyErr_Clear()
  br label %end
end:
  hold %none
  ret ptr %none
}

define ptr @loan_gone(ptr %loan, ptr %nothing) {
  ; Loan.__del__: memory is lent to one fewer
  %none = const None
  %false = const False
  %buffer = slot View.buffer %loan
  some %buffer else end
  %lent = slot Buffer.lent %buffer
  %n = call i64 @PyLong_AsLongLong(ptr %lent)
  %n1 = sub i64 %n, 1
  %lent1 = call ptr @PyLong_FromLongLong(i64 %n1)
  some %lent1 else fail
  keep Buffer.lent %buffer %lent1
  drop %lent1
  %last = icmp eq i64 %n1, 0
  need %last else end
  keep Buffer.shared %buffer %false
  br label %end
fail:
  call void @PyErr_Clear()
  br label %end
end:
  hold %none
  ret ptr %none
}
"""
