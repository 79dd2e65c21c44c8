"""`engine.call.replay` as LLVM IR over CPython's C interface: a quarter of the time.

It does what the Python function does where that is common, and answers None, "look again",
elsewhere: for values that are neither tensors, integers nor strings, for calls that check indices,
for views of views that were derived anew. Nothing is changed before everything was compared.
How the text is written: `runtime/cpython.py`.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SYMBOLS", "TEXT"]

SYMBOLS: Final = {
    "PyDict_GetItem": "ptr (ptr, ptr)",
    "PyDict_Next": "i32 (ptr, ptr, ptr, ptr)",
    "PyDict_SetItem": "i32 (ptr, ptr, ptr)",
    "PyDict_Size": "i64 (ptr)",
    "PyErr_Clear": "void ()",
    "PyList_New": "ptr (i64)",
    "PyLong_FromVoidPtr": "ptr (ptr)",
    "PyObject_GetAttr": "ptr (ptr, ptr)",
    "PyObject_RichCompareBool": "i32 (ptr, ptr, i32)",
    "PySequence_InPlaceConcat": "ptr (ptr, ptr)",
    "PyTuple_New": "ptr (i64)",
    "PyType_GenericAlloc": "ptr (ptr, i64)",
    "PyType_IsSubtype": "i32 (ptr, ptr)",
}
"""What of CPython is called; all of it has been there since 3.9 and takes no macros."""

TEXT: Final = """
define internal i1 @is(ptr %object, ptr %name, ptr %wanted) {
  ; whether an attribute is a given object
  %found = call ptr @PyObject_GetAttr(ptr %object, ptr %name)
  %none = icmp eq ptr %found, null
  br i1 %none, label %clear, label %compare
clear:
  call void @PyErr_Clear()
  ret i1 false
compare:
  drop %found
  %same = icmp eq ptr %found, %wanted
  ret i1 %same
}

define internal i1 @tensor(ptr %object) {
  %Tensor = const Tensor
  %handle = const Handle
  %type = typeof %object
  %usual = icmp eq ptr %type, %Tensor
  br i1 %usual, label %yes, label %ask
ask:
  %r = call i32 @PyType_IsSubtype(ptr %type, ptr %handle)
  %is = icmp ne i32 %r, 0
  ret i1 %is
yes:
  ret i1 true
}

define internal i1 @resting(ptr %x) {
  ; whether a tensor's value is in memory
  %none = const None
  %true = const True
  %within = slot Handle.within %x
  some %within else no
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

define internal i1 @enterable(ptr %a, ptr %w) {
  ; whether a tensor is a plain leaf in memory of the kind that is wanted
  %none = const None
  %true = const True
  %false = const False
  %Buffer = const Buffer
  %free = call i1 @resting(ptr %a)
  need %free else no
  %meta = slot Handle.meta %a
  %wanted = slot Entry.meta %w
  same %meta %wanted else no
  %hooks = slot Handle.hooks %a
  same %hooks %none else no
  %buffer = slot Handle.buffer %a
  some %buffer else no
  %type = typeof %buffer
  same %type %Buffer else no
  %shared = slot Buffer.shared %buffer
  same %shared %false else no
  %base = slot Handle.base %a
  %alone = icmp eq ptr %base, %none
  %viewed = slot Entry.view %w
  %view = icmp eq ptr %viewed, %true
  %fits = xor i1 %alone, %view
  need %fits else no
  br i1 %view, label %derived, label %yes
derived:
  %fresh = call i1 @derived_now(ptr %a)
  ret i1 %fresh
yes:
  ret i1 true
no:
  ret i1 false
}

define internal ptr @brought(ptr %given, ptr %wanted, i64 %i, ptr %a) {
  ; the state of a tensor that an earlier argument brings into the trace; null where none does
  %Entry = const Entry
  each %j of %i earlier
  %b = item %given %j
  %same = icmp eq ptr %b, %a
  br i1 %same, label %look, label %on
look:
  %w = item %wanted %j
  %type = typeof %w
  %entry = icmp eq ptr %type, %Entry
  br i1 %entry, label %yes, label %on
yes:
  %state = slot Entry.state %w
  ret ptr %state
on:
  next earlier
  ret ptr null
}

define internal i1 @derived_now(ptr %a) {
  ; whether a view is derived from its base as that is now
  %base = slot Handle.base %a
  some %base else no
  %seen = slot Handle.seen %a
  %version = slot Handle.version %base
  %one = icmp eq ptr %seen, %version
  br i1 %one, label %yes, label %compare
compare:
  %r = call i32 @PyObject_RichCompareBool(ptr %seen, ptr %version, i32 2)
  %same = icmp eq i32 %r, 1
  ret i1 %same
yes:
  ret i1 true
no:
  ret i1 false
}

define internal i32 @note_view(ptr %trace, ptr %h, ptr %base) {
  ; put a view into the trace's list of those of its base; -1 with an error
  %key = call ptr @PyLong_FromVoidPtr(ptr %base)
  some %key else no
  %views = slot Trace.views %trace
  %list = call ptr @PyDict_GetItem(ptr %views, ptr %key)
  %listed = icmp ne ptr %list, null
  br i1 %listed, label %more, label %first
more:
  drop %key
  %r = call i32 @append(ptr %list, ptr %h)
  ret i32 %r
first:
  %new = call ptr @PyList_New(i64 1)
  some %new else short
  hold %h
  fill %new 0 %h
  %s = call i32 @PyDict_SetItem(ptr %views, ptr %key, ptr %new)
  drop %new
  drop %key
  ret i32 %s
short:
  drop %key
  ret i32 -1
no:
  ret i32 -1
}

define internal i1 @bring(ptr %trace, ptr %a, ptr %w) {
  ; enter a leaf; false where memory is short
go:
  %true = const True
  %state = slot Entry.state %w
  %buffer = slot Handle.buffer %a
  %leaves = slot Trace.leaves %trace
  %r1 = call i32 @append(ptr %leaves, ptr %buffer)
  %owners = slot Trace.owners %trace
  %r2 = call i32 @append(ptr %owners, ptr %a)
  keep Handle.within %a %trace
  keep Handle.state %a %state
  %r12a = or i32 %r1, %r2
  %viewed = slot Entry.view %w
  %view = icmp eq ptr %viewed, %true
  br i1 %view, label %derived, label %plain
derived:
  %base = slot Handle.base %a
  %r0 = call i32 @note_view(ptr %trace, ptr %a, ptr %base)
  br label %plain
plain:
  %r0b = phi i32 [ 0, %go ], [ %r0, %derived ]
  %r12 = or i32 %r12a, %r0b
  %needs = slot State.requires_grad %state
  %variable = icmp eq ptr %needs, %true
  br i1 %variable, label %note, label %end
note:
  %variables = slot Trace.variables %trace
  %r3 = call i32 @PyDict_SetItem(ptr %variables, ptr %state, ptr %a)
  br label %end
end:
  %r3b = phi i32 [ 0, %plain ], [ %r3, %note ]
  %r = or i32 %r12, %r3b
  %fine = icmp eq i32 %r, 0
  ret i1 %fine
}

define internal ptr @blank() {
  ; a new handle, as `Handle.__new__` makes it; null with an error
  %Tensor = const Tensor
  %none = const None
  %false = const False
  %zero = const zero
  %nothing = const nothing
  %h = call ptr @PyType_GenericAlloc(ptr %Tensor, i64 0)
  some %h else no
  begin Handle._grad %h %none
  begin Handle.base %h %none
  begin Handle.buffer %h %none
  begin Handle.chain %h %nothing
  begin Handle.hooks %h %none
  begin Handle.meta %h %none
  begin Handle.origin %h %none
  begin Handle.seen %h %zero
  begin Handle.segment %h %none
  begin Handle.version %h %zero
  begin Handle.viewed %h %false
  ret ptr %h
no:
  ret ptr null
}

define ptr @make(ptr %self, ptr %nothing) {
  %h = call ptr @blank()
  ret ptr %h
}

define internal ptr @made(ptr %trace, ptr %state) {
  ; a new handle on a state
  %h = call ptr @blank()
  %failed = icmp eq ptr %h, null
  br i1 %failed, label %no, label %go
go:
  begin Handle.within %h %trace
  begin Handle.state %h %state
  %outs = slot Trace.outs %trace
  %r = call i32 @append(ptr %outs, ptr %h)
  %fine = icmp eq i32 %r, 0
  br i1 %fine, label %yes, label %drop
yes:
  ret ptr %h
drop:
  drop %h
  br label %no
no:
  ret ptr null
}

define internal i1 @derive(ptr %trace, ptr %h, ptr %chain, ptr %x) {
  ; make a result a view of x, or of what x is a view of
  %none = const None
  %true = const True
  %whole = icmp eq ptr %chain, %none
  br i1 %whole, label %yes, label %go
go:
  %b0 = slot Handle.base %x
  %own = icmp eq ptr %b0, %none
  br i1 %own, label %mine, label %based
mine:
  keep Handle.viewed %x %true
  br label %based
based:
  %base = select i1 %own, ptr %x, ptr %b0
  %version = slot Handle.version %base
  keep Handle.base %h %base
  keep Handle.chain %h %chain
  keep Handle.seen %h %version
  %r = call i32 @note_view(ptr %trace, ptr %h, ptr %base)
  %fine = icmp eq i32 %r, 0
  ret i1 %fine
yes:
  ret i1 true
}

define ptr @replay(ptr %self, ptr %args, i64 %n) {
entry:
  %pos = alloca i64
  %key = alloca ptr
  %value = alloca ptr
  %none = const None
  %true = const True
  %State = const State
  %Entry = const Entry
  %Int = const int
  %Str = const str
  %args1 = getelementptr ptr, ptr %args, i64 1
  %args2 = getelementptr ptr, ptr %args, i64 2
  %args3 = getelementptr ptr, ptr %args, i64 3
  %trace = load ptr, ptr %args
  %function = load ptr, ptr %args1
  %given = load ptr, ptr %args2
  %named = load ptr, ptr %args3
  %at = slot Trace.state %trace
  %calls = slot State.calls %at
  %known = call ptr @PyDict_GetItem(ptr %calls, ptr %function)
  %unknown = icmp eq ptr %known, null
  br i1 %unknown, label %miss, label %some
some:
  %grad = slot Trace.grad %trace
  %mode = slot Trace.mode %trace
  %count = length %given
  %several = length %known
  %names = call i64 @PyDict_Size(ptr %named)
  br label %each
each:
  %k = phi i64 [ 0, %some ], [ %k1, %next ]
  %left = icmp slt i64 %k, %several
  br i1 %left, label %try, label %miss
next:
  %k1 = add i64 %k, 1
  br label %each
try:
  %call = item %known %k
  %cgrad = slot Call.grad %call
  %t1 = icmp eq ptr %cgrad, %grad
  br i1 %t1, label %try.mode, label %next
try.mode:
  %cmode = slot Call.mode %call
  %t2 = icmp eq ptr %cmode, %mode
  br i1 %t2, label %try.count, label %next
try.count:
  %wanted = slot Call.wanted %call
  %wcount = length %wanted
  %t3 = icmp eq i64 %wcount, %count
  br i1 %t3, label %try.names, label %next
try.names:
  %cnames = slot Call.names %call
  %cncount = length %cnames
  %t4 = icmp eq i64 %cncount, %names
  br i1 %t4, label %keys, label %next
keys:
  store i64 0, ptr %pos
  br label %key.next
key.next:
  %ki = phi i64 [ 0, %keys ], [ %ki1, %key.same ]
  %t5 = icmp slt i64 %ki, %names
  br i1 %t5, label %key.test, label %arg
key.test:
  %kr = call i32 @PyDict_Next(ptr %named, ptr %pos, ptr %key, ptr %value)
  %name = load ptr, ptr %key
  %cname = item %cnames %ki
  %t6 = icmp eq ptr %name, %cname
  br i1 %t6, label %key.same, label %next
key.same:
  %ki1 = add i64 %ki, 1
  br label %key.next
arg:
  %i = phi i64 [ 0, %key.next ], [ %i1, %arg.fits ]
  %t7 = icmp slt i64 %i, %count
  br i1 %t7, label %arg.test, label %source
arg.test:
  %a = item %given %i
  %w = item %wanted %i
  %t8 = icmp eq ptr %a, %w
  br i1 %t8, label %arg.fits, label %arg.kind
arg.kind:
  %wtype = typeof %w
  %t9 = icmp eq ptr %wtype, %State
  br i1 %t9, label %state, label %arg.entry
state:
  %s1 = call i1 @tensor(ptr %a)
  br i1 %s1, label %state.within, label %next
state.within:
  %awithin = slot Handle.within %a
  %s2 = icmp eq ptr %awithin, %trace
  br i1 %s2, label %state.same, label %state.brought
state.brought:
  %s4 = call ptr @brought(ptr %given, ptr %wanted, i64 %i, ptr %a)
  %s5 = icmp eq ptr %s4, %w
  br i1 %s5, label %arg.fits, label %next
state.same:
  %astate = slot Handle.state %a
  %s3 = icmp eq ptr %astate, %w
  br i1 %s3, label %arg.fits, label %next
arg.entry:
  %t10 = icmp eq ptr %wtype, %Entry
  br i1 %t10, label %enter, label %arg.value
enter:
  %n1 = call i1 @tensor(ptr %a)
  br i1 %n1, label %enter.plain, label %next
enter.plain:
  %n2 = call i1 @enterable(ptr %a, ptr %w)
  br i1 %n2, label %enter.once, label %next
enter.once:
  %n3 = call ptr @brought(ptr %given, ptr %wanted, i64 %i, ptr %a)
  %n4 = icmp eq ptr %n3, null
  br i1 %n4, label %arg.fits, label %next
arg.value:
  %atype = typeof %a
  %t11 = icmp eq ptr %atype, %wtype
  br i1 %t11, label %value.kind, label %next
value.kind:
  %int = icmp eq ptr %atype, %Int
  %str = icmp eq ptr %atype, %Str
  %simple = or i1 %int, %str
  br i1 %simple, label %value.same, label %miss
value.same:
  %equal = call i32 @PyObject_RichCompareBool(ptr %a, ptr %w, i32 2)
  %t12 = icmp eq i32 %equal, 1
  br i1 %t12, label %arg.fits, label %next
arg.fits:
  %i1 = add i64 %i, 1
  br label %arg
source:
  %src = slot Call.source %call
  %plain = icmp eq ptr %src, %none
  br i1 %plain, label %checks, label %derived
derived:
  %x = item %given 0
  %shape = item %src 0
  %chain = item %src 1
  %base = icmp eq ptr %shape, %none
  %whole = slot Handle.base %x
  %xbase = icmp eq ptr %whole, %none
  %alike = icmp eq i1 %base, %xbase
  br i1 %alike, label %derived.how, label %next
derived.how:
  br i1 %base, label %checks, label %derived.chain
derived.chain:
  %how = slot Handle.chain %x
  %d1 = icmp eq ptr %how, %chain
  br i1 %d1, label %checks, label %miss
checks:
  %checked = slot Call.checks %call
  %checkcount = length %checked
  %t13 = icmp eq i64 %checkcount, 0
  br i1 %t13, label %take, label %miss

take:
  hold %call
  br label %bring
bring:
  %j = phi i64 [ 0, %take ], [ %j1, %bring.next ]
  %b1 = icmp slt i64 %j, %count
  br i1 %b1, label %bring.test, label %move
bring.test:
  %bw = item %wanted %j
  %bwtype = typeof %bw
  %b2 = icmp eq ptr %bwtype, %Entry
  br i1 %b2, label %bring.one, label %bring.next
bring.one:
  %ba = item %given %j
  %b3 = call i1 @bring(ptr %trace, ptr %ba, ptr %bw)
  br i1 %b3, label %bring.next, label %fail
bring.next:
  %j1 = add i64 %j, 1
  br label %bring
move:
  %end = slot Call.end %call
  keep Trace.state %trace %end
  %numbers = slot Call.scalars %call
  %numbercount = length %numbers
  %m1 = icmp eq i64 %numbercount, 0
  br i1 %m1, label %results, label %numbered
numbered:
  %scalars = slot Trace.scalars %trace
  %longer = call ptr @PySequence_InPlaceConcat(ptr %scalars, ptr %numbers)
  %m2 = icmp eq ptr %longer, null
  br i1 %m2, label %fail, label %concat
concat:
  drop %longer
  br label %results
results:
  %states = slot Call.results %call
  %chains = slot Call.chains %call
  %single = slot Call.single %call
  %r1 = icmp eq ptr %single, %true
  br i1 %r1, label %one, label %many
one:
  %onestate = item %states 0
  %h = call ptr @made(ptr %trace, ptr %onestate)
  %r2 = icmp eq ptr %h, null
  br i1 %r2, label %fail, label %one.view
one.view:
  br i1 %plain, label %one.done, label %one.derive
one.derive:
  %onefirst = item %given 0
  %onechain = item %chains 0
  %r3 = call i1 @derive(ptr %trace, ptr %h, ptr %onechain, ptr %onefirst)
  br i1 %r3, label %one.done, label %one.fail
one.done:
  drop %call
  ret ptr %h
one.fail:
  drop %h
  br label %fail
many:
  %rcount = length %states
  %tuple = call ptr @PyTuple_New(i64 %rcount)
  %r4 = icmp eq ptr %tuple, null
  br i1 %r4, label %fail, label %many.next
many.next:
  %q = phi i64 [ 0, %many ], [ %q1, %many.kept ]
  %r5 = icmp slt i64 %q, %rcount
  br i1 %r5, label %many.one, label %many.done
many.one:
  %qstate = item %states %q
  %qh = call ptr @made(ptr %trace, ptr %qstate)
  %r6 = icmp eq ptr %qh, null
  br i1 %r6, label %many.fail, label %many.put
many.put:
  put %tuple %q %qh
  br i1 %plain, label %many.kept, label %many.derive
many.derive:
  %qfirst = item %given 0
  %qchain = item %chains %q
  %r7 = call i1 @derive(ptr %trace, ptr %qh, ptr %qchain, ptr %qfirst)
  br i1 %r7, label %many.kept, label %many.fail
many.kept:
  %q1 = add i64 %q, 1
  br label %many.next
many.done:
  drop %call
  ret ptr %tuple
many.fail:
  drop %tuple
  br label %fail
fail:
  drop %call
  ret ptr null
miss:
  hold %none
  ret ptr %none
}
"""
