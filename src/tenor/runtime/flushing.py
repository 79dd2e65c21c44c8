"""A flush that was done before, as LLVM IR.

`run` does what `engine.flush.flush` does where nothing is written in place and no gradient is
asked for: it finds what is alive, looks the `Ready` plan up, launches it, stores the results and
begins the next trace. It answers None, "look again", where anything is another way, and leaves
everything as it was.
How the text is written: `runtime/cpython.py`.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SYMBOLS", "TEXT"]

MANY: Final = 512
"""Leaves, their tensors and numbers of a trace that is used again."""
RARE: Final = ("foreign", "functions", "hooks", "overwritten", "providers", "views")
"""What a trace that is used again must hold nothing of."""

_RARE: Final = "\n".join(
    f"  %of.{name} = slot Trace.{name} %trace\n  %n.{name} = "
    + (f"length %of.{name}" if name == "providers" else f"call i64 @PyDict_Size(ptr %of.{name})")
    + f"\n  %empty.{name} = icmp eq i64 %n.{name}, 0\n  need %empty.{name} else python"
    for name in RARE
)

SYMBOLS: Final = {
    "PyDict_Clear": "void (ptr)",
    "PyDict_GetItem": "ptr (ptr, ptr)",
    "PyDict_New": "ptr ()",
    "PyDict_SetItem": "i32 (ptr, ptr, ptr)",
    "PyDict_Size": "i64 (ptr)",
    "PyErr_Clear": "void ()",
    "PyErr_ExceptionMatches": "i32 (ptr)",
    "PyErr_Fetch": "void (ptr, ptr, ptr)",
    "PyErr_Occurred": "ptr ()",
    "PyErr_Restore": "void (ptr, ptr, ptr)",
    "PyEval_RestoreThread": "void (ptr)",
    "PyEval_SaveThread": "ptr ()",
    "PyFloat_AsDouble": "double (ptr)",
    "PyIter_Next": "ptr (ptr)",
    "PyList_New": "ptr (i64)",
    "PyLong_AsLongLong": "i64 (ptr)",
    "PyLong_AsVoidPtr": "ptr (ptr)",
    "PyNumber_Add": "ptr (ptr, ptr)",
    "PyObject_CallFunctionObjArgs": "ptr (ptr, ...)",
    "PyObject_CallNoArgs": "ptr (ptr)",
    "PyObject_RichCompareBool": "i32 (ptr, ptr, i32)",
    "PyTuple_New": "ptr (i64)",
    "PyType_GenericAlloc": "ptr (ptr, i64)",
    "PyWeakref_GetObject": "ptr (ptr)",
}
"""What of CPython is called."""

TEXT: Final = """
define internal ptr @allocated(ptr %launcher, i64 %k) {
  ; a new buffer for an output; null with an error where memory is short
  %free = const free
  %Buffer = const Buffer
  %false = const False
  %zero = const zero
  %counted = const counted
  %capacities = slot Launcher.capacities %launcher
  %sizes = slot Launcher.sizes %launcher
  %capacity = item %capacities %k
  %size = item %sizes %k
  %list = call ptr @PyDict_GetItem(ptr %free, ptr %capacity)
  some %list else slow
  %n = length %list
  %any = icmp sgt i64 %n, 0
  need %any else slow
  %last = sub i64 %n, 1
  %pair = call ptr @taken(ptr %list, i64 %last)
  %pointer = item %pair 0
  %owner = item %pair 1
  %b = call ptr @PyType_GenericAlloc(ptr %Buffer, i64 0)
  some %b else short
  begin Buffer.pointer %b %pointer
  begin Buffer.nbytes %b %size
  begin Buffer.owner %b %owner
  begin Buffer.capacity %b %capacity
  begin Buffer.shared %b %false
  begin Buffer.lent %b %zero
  begin Buffer.version %b %zero
  drop %pair
  %bytes = call i64 @PyLong_AsLongLong(ptr %capacity)
  %live = load i64, ptr %counted
  %live1 = add i64 %live, %bytes
  store i64 %live1, ptr %counted
  %cachedp = getelementptr i8, ptr %counted, i64 8
  %cached = load i64, ptr %cachedp
  %cached1 = sub i64 %cached, %bytes
  store i64 %cached1, ptr %cachedp
  ret ptr %b
short:
  ; the list has room for what was in it
  %back = call i32 @append(ptr %list, ptr %pair)
  drop %pair
  ret ptr null
slow:
  %allocate = const allocate
  %s = call ptr (ptr, ...) @PyObject_CallFunctionObjArgs(ptr %allocate, ptr %size, ptr null)
  ret ptr %s
}

define internal ptr @borrowed(ptr %size, ptr %place) {
  ; memory of a run for itself, written down at a place; null with an error where it is short
  %allocate = const allocate
  %b = call ptr (ptr, ...) @PyObject_CallFunctionObjArgs(ptr %allocate, ptr %size, ptr null)
  some %b else no
  %at = slot Buffer.pointer %b
  %pointer = call ptr @PyLong_AsVoidPtr(ptr %at)
  store ptr %pointer, ptr %place
  ret ptr %b
no:
  ret ptr null
}

define internal i1 @prepared(ptr %launcher, ptr %t, ptr %leaves, ptr %holder) {
  ; whether what was kept is of these inputs as they are now; if so it is held, and written down
  %none = const None
  %kept = slot Launcher.kept %launcher
  %state = slot Kept.state %kept
  %sources = item %state 0
  %buffer = item %state 1
  %there = icmp ne ptr %buffer, %none
  need %there else no
  %n = length %sources
  %numbers = place 11 %t
  each %i of %n source
  %pair = item %sources %i
  %ref = item %pair 0
  %version = item %pair 1
  %numberp = getelementptr i64, ptr %numbers, i64 %i
  %number = load i64, ptr %numberp
  %leaf = entry %leaves %number
  %held = call ptr @PyWeakref_GetObject(ptr %ref)
  same %held %leaf else no
  %now = slot Buffer.version %leaf
  %r = call i32 @PyObject_RichCompareBool(ptr %now, ptr %version, i32 2)
  %same = icmp eq i32 %r, 1
  need %same else no
  next source
  %at = slot Buffer.pointer %buffer
  %pointer = call ptr @PyLong_AsVoidPtr(ptr %at)
  %place = place 10 %t
  store ptr %pointer, ptr %place
  hold %buffer
  store ptr %buffer, ptr %holder
  ret i1 true
no:
  ret i1 false
}

define internal ptr @launch(ptr %launcher, ptr %leaves, ptr %scalars) {
  ; run; return the outputs, or null: with an error, or where it is to be looked at again
  %none = const None
  %Buffer = const Buffer
  %arena = alloca ptr
  %scratch = alloca ptr
  store ptr null, ptr %arena
  store ptr null, ptr %scratch
  %holder = alloca ptr
  store ptr null, ptr %holder
  %table = slot Launcher.table %launcher
  %t = bytes %table
  %busyp = place 0 %t
  %bases = place 2 %t
  %count = word 4 %t
  %busy = load i64, ptr %busyp
  %idle = icmp eq i64 %busy, 0
  need %idle else miss
  %given = length %leaves
  %all = icmp eq i64 %given, %count
  need %all else miss
  each %i of %count leaf
  %b = entry %leaves %i
  %bt = typeof %b
  same %bt %Buffer else miss
  %at = slot Buffer.pointer %b
  %pointer = call ptr @PyLong_AsVoidPtr(ptr %at)
  %base = getelementptr ptr, ptr %bases, i64 %i
  store ptr %pointer, ptr %base
  next leaf
  %kept = slot Launcher.kept %launcher
  %nokept = icmp eq ptr %kept, %none
  br i1 %nokept, label %numbers, label %keeping
keeping:
  %ready = call i1 @prepared(ptr %launcher, ptr %t, ptr %leaves, ptr %holder)
  br i1 %ready, label %numbers, label %miss
numbers:
  %ns = word 6 %t
  %numbered = length %scalars
  %every = icmp eq i64 %ns, %numbered
  need %every else miss
  %into = place 3 %t
  %kinds = place 12 %t
  each %q of %ns number
  %value = entry %scalars %q
  %kindp = getelementptr i64, ptr %kinds, i64 %q
  %kind = load i64, ptr %kindp
  %slotp = getelementptr i64, ptr %into, i64 %q
  %float = icmp eq i64 %kind, 1
  br i1 %float, label %real, label %whole
real:
  %d = call double @PyFloat_AsDouble(ptr %value)
  store double %d, ptr %slotp
  br label %written
whole:
  %w = call i64 @PyLong_AsLongLong(ptr %value)
  store i64 %w, ptr %slotp
  br label %written
written:
  %error = call ptr @PyErr_Occurred()
  %fine = icmp eq ptr %error, null
  need %fine else unfit
  next number
  store i64 1, ptr %busyp
  %asize = slot Launcher.arena %launcher
  %noarena = icmp eq ptr %asize, %none
  br i1 %noarena, label %arena.done, label %arena.take
arena.take:
  %aplace = place 13 %t
  %a = call ptr @borrowed(ptr %asize, ptr %aplace)
  store ptr %a, ptr %arena
  %a1 = icmp ne ptr %a, null
  br i1 %a1, label %arena.done, label %failed
arena.done:
  %ssize = slot Launcher.scratch %launcher
  %noscratch = icmp eq ptr %ssize, %none
  br i1 %noscratch, label %scratch.done, label %scratch.take
scratch.take:
  %splace = place 14 %t
  %s = call ptr @borrowed(ptr %ssize, ptr %splace)
  store ptr %s, ptr %scratch
  %s1 = icmp ne ptr %s, null
  br i1 %s1, label %scratch.done, label %failed
scratch.done:
  %outputs = word 5 %t
  %made = call ptr @PyList_New(i64 %outputs)
  some %made else failed
  each %k of %outputs output
  %o = call ptr @allocated(ptr %launcher, i64 %k)
  some %o else dropped
  fill %made %k %o
  %oat = slot Buffer.pointer %o
  %opointer = call ptr @PyLong_AsVoidPtr(ptr %oat)
  %onumber = add i64 %count, %k
  %obase = getelementptr ptr, ptr %bases, i64 %onumber
  store ptr %opointer, ptr %obase
  next output
  %call = slot Launcher.call %launcher
  %serial = icmp eq ptr %call, %none
  br i1 %serial, label %direct, label %shared
direct:
  %block = place 1 %t
  %execute = place 8 %t
  %release = word 9 %t
  %long = icmp ne i64 %release, 0
  br i1 %long, label %released, label %short
short:
  call void %execute(ptr %block)
  br label %ran
released:
  %thread = call ptr @PyEval_SaveThread()
  call void %execute(ptr %block)
  call void @PyEval_RestoreThread(ptr %thread)
  br label %ran
shared:
  %r = call ptr @PyObject_CallNoArgs(ptr %call)
  some %r else dropped
  drop %r
  br label %ran
ran:
  %statusp = place 7 %t
  %status = load i64, ptr %statusp
  store i64 0, ptr %busyp
  call void @let_go(ptr %arena, ptr %scratch, ptr %holder)
  %good = icmp eq i64 %status, 0
  br i1 %good, label %yes, label %bad
yes:
  ret ptr %made
bad:
  drop %made
  ret ptr null
dropped:
  drop %made
  br label %failed
failed:
  store i64 0, ptr %busyp
  call void @let_go(ptr %arena, ptr %scratch, ptr %holder)
  ; where memory is short, Python says so
  %memory = const MemoryError
  %out = call i32 @PyErr_ExceptionMatches(ptr %memory)
  %full = icmp ne i32 %out, 0
  need %full else stopped
  call void @PyErr_Clear()
  br label %stopped
stopped:
  ret ptr null
unfit:
  call void @PyErr_Clear()
  br label %miss
miss:
  call void @let_go(ptr %arena, ptr %scratch, ptr %holder)
  ret ptr null
}

define internal void @let_go(ptr %arena, ptr %scratch, ptr %holder) {
  %a = load ptr, ptr %arena
  drop %a
  %s = load ptr, ptr %scratch
  drop %s
  %h = load ptr, ptr %holder
  drop %h
  ret void
}

define internal void @cleared(ptr %dict) {
  %n = call i64 @PyDict_Size(ptr %dict)
  %some = icmp ne i64 %n, 0
  need %some else end
  call void @PyDict_Clear(ptr %dict)
  br label %end
end:
  ret void
}

define internal i64 @moved(ptr %list, ptr %into, i64 %at) {
  ; move the elements of a list to a place in memory; return the place behind them
  %n = length %list
  each %i of %n element
  %x = entry %list %i
  %j = add i64 %at, %i
  %p = getelementptr ptr, ptr %into, i64 %j
  store ptr %x, ptr %p
  next element
  %sizep = getelementptr i8, ptr %list, i64 16
  store i64 0, ptr %sizep
  %end = add i64 %at, %n
  ret i64 %end
}

define internal i1 @retire(ptr %trace) {
  ; end a trace that was run; it is the thread's next, from the root, where nobody else holds it
  %gone = alloca [MANY x ptr]
  %none = const None
  %recording = const recording
  %rootname = const ROOT
  %serials = const serials
  %false = const False
  %noset = const noset
  %ended = const retire
RARE
  %leaves = slot Trace.leaves %trace
  %owners = slot Trace.owners %trace
  %scalars = slot Trace.scalars %trace
  %variables = slot Trace.variables %trace
  %l = length %leaves
  %o = length %owners
  %s = length %scalars
  %lo = add i64 %l, %o
  %los = add i64 %lo, %s
  %few = icmp slt i64 %los, MANY
  need %few else python
  %serial = call ptr @PyIter_Next(ptr %serials)
  some %serial else no
  br label %counted
counted:
  %v = call i64 @PyDict_Size(ptr %variables)
  %novariables = icmp eq i64 %v, 0
  br i1 %novariables, label %look, label %fresh
fresh:
  %empty = call ptr @PyDict_New()
  %made = icmp ne ptr %empty, null
  br i1 %made, label %look, label %short
look:
  %next = phi ptr [ null, %counted ], [ %empty, %fresh ]
  ; what was brought in is in memory again
  each %i of %o owner
  %h = entry %owners %i
  %within = slot Handle.within %h
  %ours = icmp eq ptr %within, %trace
  br i1 %ours, label %free, label %after
free:
  keep Handle.within %h %none
  br label %after
after:
  next owner
  ; the thread's, and who runs it
  %references = load i32, ptr %trace
  %alone = icmp eq i32 %references, 2
  need %alone else held
  ; Nothing is let go before the trace is as a new one: that may run somebody's code.
  %a1 = call i64 @moved(ptr %leaves, ptr %gone, i64 0)
  %a2 = call i64 @moved(ptr %owners, ptr %gone, i64 %a1)
  %a3 = call i64 @moved(ptr %scalars, ptr %gone, i64 %a2)
  %root = call ptr @PyDict_GetItem(ptr %recording, ptr %rootname)
  keep Trace.state %trace %root
  keep Trace.serial %trace %serial
  drop %serial
  keep Trace.sealed %trace %false
  keep Trace.freed %trace %noset
  br i1 %novariables, label %release, label %renew
renew:
  hold %variables
  keep Trace.variables %trace %next
  drop %next
  drop %variables
  br label %release
release:
  each %k of %a3 element
  %p = getelementptr ptr, ptr %gone, i64 %k
  %x = load ptr, ptr %p
  drop %x
  next element
  ret i1 true
short:
  call void @PyErr_Clear()
  drop %serial
  br label %python
held:
  drop %serial
  drop %next
  br label %python
python:
  %r = call ptr (ptr, ...) @PyObject_CallFunctionObjArgs(ptr %ended, ptr %trace, ptr null)
  %fine = icmp ne ptr %r, null
  drop %r
  ret i1 %fine
no:
  ret i1 false
}

define internal i1 @pending(ptr %trace) {
  ; whether a trace holds more than what is recorded: gradients, writes
  %gradients = slot Trace.gradients %trace
  %g = length %gradients
  %deferred = slot Trace.deferred %trace
  %d = length %deferred
  %rebound = slot Trace.rebound %trace
  %b = call i64 @PyDict_Size(ptr %rebound)
  %donors = slot Trace.donors %trace
  %o = call i64 @PyDict_Size(ptr %donors)
  %gd = or i64 %g, %d
  %bo = or i64 %b, %o
  %any = or i64 %gd, %bo
  %some = icmp ne i64 %any, 0
  ret i1 %some
}

define internal i1 @gathered(ptr %trace, ptr %live) {
  ; empty the trace's list of handles, last to first, into a list of those somebody else holds
  %outs = slot Trace.outs %trace
  br label %again
again:
  %n = length %outs
  %more = icmp sgt i64 %n, 0
  need %more else end
  %last = sub i64 %n, 1
  %h = entry %outs %last
  %references = load i32, ptr %h
  %held = icmp ugt i32 %references, 1
  br i1 %held, label %whose, label %drop
whose:
  %within = slot Handle.within %h
  %ours = icmp eq ptr %within, %trace
  br i1 %ours, label %note, label %drop
note:
  %r = call i32 @append(ptr %live, ptr %h)
  %fine = icmp eq i32 %r, 0
  need %fine else no
  br label %drop
drop:
  %gone = call ptr @taken(ptr %outs, i64 %last)
  drop %gone
  br label %again
end:
  ret i1 true
no:
  ret i1 false
}

define internal ptr @look_up(ptr %trace, ptr %live) {
  ; the plan of what is alive, borrowed; null where there is none, or more is to be done
  %none = const None
  %true = const True
  %Ready = const Ready
  %n = length %live
  %key = call ptr @PyTuple_New(i64 %n)
  some %key else short
  each %i of %n handle
  %h = entry %live %i
  %state = slot Handle.state %h
  hold %state
  put %key %i %state
  %buffer = slot Handle.buffer %h
  same %buffer %none else no
  next handle
  %end = slot Trace.state %trace
  %plans = slot State.plans %end
  %found = call ptr @PyDict_GetItem(ptr %plans, ptr %key)
  some %found else no
  %type = typeof %found
  same %type %Ready else no
  drop %key
  ret ptr %found
no:
  drop %key
  ret ptr null
short:
  call void @PyErr_Clear()
  ret ptr null
}

define internal void @store(ptr %live, ptr %ready, ptr %outputs, ptr %leaves) {
  ; give every live handle its value
  %none = const None
  %metas = slot Ready.metas %ready
  %table = slot Ready.places %ready
  %places = bytes %table
  %made = length %outputs
  %n = length %live
  each %i of %n handle
  %h = entry %live %i
  %placep = getelementptr i64, ptr %places, i64 %i
  %place = load i64, ptr %placep
  %output = icmp slt i64 %place, %made
  br i1 %output, label %fresh, label %leaf
fresh:
  %o = entry %outputs %place
  br label %found
leaf:
  %number = sub i64 %place, %made
  %l = entry %leaves %number
  br label %found
found:
  %b = phi ptr [ %o, %fresh ], [ %l, %leaf ]
  %meta = item %metas %i
  keep Handle.buffer %h %b
  keep Handle.meta %h %meta
  keep Handle.within %h %none
  next handle
  ret void
}

define internal void @restored(ptr %trace, ptr %live) {
  ; undo what was done to run a trace; an error that is set stays
  %kind = alloca ptr
  %value = alloca ptr
  %where = alloca ptr
  call void @PyErr_Fetch(ptr %kind, ptr %value, ptr %where)
  %restore = const restore
  %r = call ptr (ptr, ...) @PyObject_CallFunctionObjArgs(
    ptr %restore, ptr %trace, ptr %live, ptr null)
  drop %r
  %k = load ptr, ptr %kind
  %v = load ptr, ptr %value
  %w = load ptr, ptr %where
  call void @PyErr_Restore(ptr %k, ptr %v, ptr %w)
  ret void
}

define internal ptr @flushed() {
  ; run the thread's trace: True, borrowed; null with an error, or where it is to be looked at again
  %local = const local
  %tracename = const trace
  %trace = call ptr @PyObject_GetAttr(ptr %local, ptr %tracename)
  some %trace else no
  %r = call ptr @flushed_trace(ptr %trace)
  drop %trace
  ret ptr %r
no:
  ret ptr null
}

define internal ptr @flushed_trace(ptr %trace) {
  %true = const True
  %readyname = const ready
  %counts = const counts
  %flushes = const flushes
  %one = const one
  %more = call i1 @pending(ptr %trace)
  %plain = xor i1 %more, true
  need %plain else miss
  %end = slot Trace.state %trace
  %plans = slot State.plans %end
  %some = call ptr @PyDict_GetItem(ptr %plans, ptr %readyname)
  some %some else miss
  %live = call ptr @PyList_New(i64 0)
  some %live else short
  keep Trace.sealed %trace %true
  %views = slot Trace.views %trace
  call void @cleared(ptr %views)
  %g = call i1 @gathered(ptr %trace, ptr %live)
  need %g else no
  %ready = call ptr @look_up(ptr %trace, ptr %live)
  some %ready else no
  hold %ready
  %launcher = slot Ready.launcher %ready
  %leaves = slot Trace.leaves %trace
  %scalars = slot Trace.scalars %trace
  %outputs = call ptr @launch(ptr %launcher, ptr %leaves, ptr %scalars)
  some %outputs else unready
  call void @store(ptr %live, ptr %ready, ptr %outputs, ptr %leaves)
  drop %outputs
  drop %ready
  drop %live
  %r = call i1 @retire(ptr %trace)
  %before = call ptr @PyDict_GetItem(ptr %counts, ptr %flushes)
  %after = call ptr @PyNumber_Add(ptr %before, ptr %one)
  some %after else uncounted
  %c = call i32 @PyDict_SetItem(ptr %counts, ptr %flushes, ptr %after)
  drop %after
  need %r else miss
  ret ptr %true
uncounted:
  ret ptr null
unready:
  drop %ready
  br label %no
no:
  call void @restored(ptr %trace, ptr %live)
  drop %live
  ret ptr null
short:
  call void @PyErr_Clear()
  ret ptr null
miss:
  ret ptr null
}

define internal ptr @answer(ptr %found) {
  ; a reference to what was found; None where nothing was, null where there is an error
  %none = const None
  some %found else nothing
  ret ptr %found
nothing:
  %error = call ptr @PyErr_Occurred()
  %fine = icmp eq ptr %error, null
  need %fine else no
  hold %none
  ret ptr %none
no:
  ret ptr null
}

define ptr @run(ptr %self, ptr %nothing) {
  %found = call ptr @flushed()
  hold %found
  %r = call ptr @answer(ptr %found)
  ret ptr %r
}
""".replace("RARE", _RARE).replace("MANY", str(MANY))
