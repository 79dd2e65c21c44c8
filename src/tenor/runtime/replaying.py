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
    "PyBytes_AsString": "ptr (ptr)",
    "PyDict_GetItem": "ptr (ptr, ptr)",
    "PyDict_Next": "i32 (ptr, ptr, ptr, ptr)",
    "PyDict_SetItem": "i32 (ptr, ptr, ptr)",
    "PyDict_Size": "i64 (ptr)",
    "PyErr_Clear": "void ()",
    "PyList_Append": "i32 (ptr, ptr)",
    "PyList_Size": "i64 (ptr)",
    "PyLong_FromVoidPtr": "ptr (ptr)",
    "PyObject_CallNoArgs": "ptr (ptr)",
    "PyObject_GetAttr": "ptr (ptr, ptr)",
    "PyObject_GetItem": "ptr (ptr, ptr)",
    "PyObject_RichCompareBool": "i32 (ptr, ptr, i32)",
    "PyObject_SetAttr": "i32 (ptr, ptr, ptr)",
    "PySequence_InPlaceConcat": "ptr (ptr, ptr)",
    "PyTuple_GetItem": "ptr (ptr, i64)",
    "PyTuple_New": "ptr (i64)",
    "PyTuple_SetItem": "i32 (ptr, i64, ptr)",
    "PyTuple_Size": "i64 (ptr)",
    "PyType_IsSubtype": "i32 (ptr, ptr)",
    "Py_DecRef": "void (ptr)",
    "Py_IncRef": "void (ptr)",
}
"""What of CPython is called; all of it has been there since 3.9 and takes no macros."""

TEXT: Final = """
define internal i1 @is(ptr %config, ptr %object, ptr %name, ptr %wanted) {
  ; whether an attribute is a given object
  %found = call ptr @PyObject_GetAttr(ptr %object, ptr %name)
  %none = icmp eq ptr %found, null
  br i1 %none, label %clear, label %compare
clear:
  call void @PyErr_Clear()
  ret i1 false
compare:
  call void @Py_DecRef(ptr %found)
  %same = icmp eq ptr %found, %wanted
  ret i1 %same
}

define internal i1 @tensor(ptr %config, ptr %object) {
  %handle = const Handle
  %typep = getelementptr i8, ptr %object, i64 8
  %type = load ptr, ptr %typep
  %r = call i32 @PyType_IsSubtype(ptr %type, ptr %handle)
  %is = icmp ne i32 %r, 0
  ret i1 %is
}

define internal i1 @enterable(ptr %config, ptr %a, ptr %w) {
  ; whether a tensor is a plain leaf in memory of the kind that is wanted
  %none = const None
  %true = const True
  %false = const False
  %owner = slot Handle.within %a
  %unset = icmp eq ptr %owner, null
  br i1 %unset, label %no, label %owned
owned:
  %free = icmp eq ptr %owner, %none
  br i1 %free, label %plain, label %pending
pending:
  %done = slot Trace.done %owner
  %ended = icmp eq ptr %done, %true
  br i1 %ended, label %plain, label %no
plain:
  %metaname = const meta
  %wanted = slot Entry.meta %w
  %e1 = call i1 @is(ptr %config, ptr %a, ptr %metaname, ptr %wanted)
  br i1 %e1, label %based, label %no
based:
  %basename = const base
  %viewed = slot Entry.view %w
  %view = icmp eq ptr %viewed, %true
  %e2 = call i1 @is(ptr %config, ptr %a, ptr %basename, ptr %none)
  %e2b = xor i1 %e2, %view
  br i1 %e2b, label %current, label %no
current:
  br i1 %view, label %derived, label %hooked
derived:
  %fresh = call i1 @derived_now(ptr %config, ptr %a)
  br i1 %fresh, label %hooked, label %no
hooked:
  %hookname = const hooks
  %e3 = call i1 @is(ptr %config, ptr %a, ptr %hookname, ptr %none)
  br i1 %e3, label %stored, label %no
stored:
  %buffername = const buffer
  %buffer = call ptr @PyObject_GetAttr(ptr %a, ptr %buffername)
  %nobuffer = icmp eq ptr %buffer, null
  br i1 %nobuffer, label %clear, label %typed
typed:
  call void @Py_DecRef(ptr %buffer)
  %type = const Buffer
  %typep = getelementptr i8, ptr %buffer, i64 8
  %found = load ptr, ptr %typep
  %e4 = icmp eq ptr %found, %type
  br i1 %e4, label %shared, label %no
shared:
  %share = slot Buffer.shared %buffer
  %e5 = icmp eq ptr %share, %false
  ret i1 %e5
clear:
  call void @PyErr_Clear()
  br label %no
no:
  ret i1 false
}

define internal i1 @derived_now(ptr %config, ptr %a) {
  ; whether a view is derived from its base as that is now
  %basename = const base
  %seenname = const seen
  %versionname = const version
  %base = call ptr @attribute(ptr %a, ptr %basename)
  %seen = call ptr @attribute(ptr %a, ptr %seenname)
  %version = call ptr @attribute(ptr %base, ptr %versionname)
  %r = call i32 @PyObject_RichCompareBool(ptr %seen, ptr %version, i32 2)
  %same = icmp eq i32 %r, 1
  ret i1 %same
}

define internal i32 @note_view(ptr %config, ptr %trace, ptr %h, ptr %base) {
  ; put a view into the trace's list of those of its base; -1 with an error
  %key = call ptr @PyLong_FromVoidPtr(ptr %base)
  %keyed = icmp ne ptr %key, null
  need %keyed else no
  %views = slot Trace.views %trace
  %list = call ptr @PyObject_GetItem(ptr %views, ptr %key)
  call void @Py_DecRef(ptr %key)
  %listed = icmp ne ptr %list, null
  need %listed else no
  %r = call i32 @PyList_Append(ptr %list, ptr %h)
  call void @Py_DecRef(ptr %list)
  ret i32 %r
no:
  ret i32 -1
}

define internal i1 @bring(ptr %config, ptr %trace, ptr %a, ptr %w) {
  ; enter a leaf; false where memory is short
  %true = const True
  %buffername = const buffer
  %state = slot Entry.state %w
  %buffer = call ptr @PyObject_GetAttr(ptr %a, ptr %buffername)
  %failed = icmp eq ptr %buffer, null
  br i1 %failed, label %no, label %go
go:
  %leaves = slot Trace.leaves %trace
  %r1 = call i32 @PyList_Append(ptr %leaves, ptr %buffer)
  call void @Py_DecRef(ptr %buffer)
  %owners = slot Trace.owners %trace
  %r2 = call i32 @PyList_Append(ptr %owners, ptr %a)
  keep Handle.within %a %trace
  keep Handle.state %a %state
  %r12a = or i32 %r1, %r2
  %viewed = slot Entry.view %w
  %view = icmp eq ptr %viewed, %true
  br i1 %view, label %derived, label %plain
derived:
  %basename = const base
  %base = call ptr @attribute(ptr %a, ptr %basename)
  %r0 = call i32 @note_view(ptr %config, ptr %trace, ptr %a, ptr %base)
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
no:
  ret i1 false
}

define internal ptr @made(ptr %config, ptr %trace, ptr %state) {
  ; a new handle on a state
  %make = const make
  %h = call ptr @PyObject_CallNoArgs(ptr %make)
  %failed = icmp eq ptr %h, null
  br i1 %failed, label %no, label %go
go:
  keep Handle.within %h %trace
  keep Handle.state %h %state
  %outs = slot Trace.outs %trace
  %r = call i32 @PyList_Append(ptr %outs, ptr %h)
  %fine = icmp eq i32 %r, 0
  br i1 %fine, label %yes, label %drop
yes:
  ret ptr %h
drop:
  call void @Py_DecRef(ptr %h)
  br label %no
no:
  ret ptr null
}

define internal i1 @derive(ptr %config, ptr %trace, ptr %h, ptr %chain, ptr %x) {
  ; make a result a view of x, or of what x is a view of
  %none = const None
  %true = const True
  %basename = const base
  %chainname = const chain
  %seenname = const seen
  %versionname = const version
  %viewedname = const viewed
  %whole = icmp eq ptr %chain, %none
  br i1 %whole, label %yes, label %go
go:
  %b0 = call ptr @PyObject_GetAttr(ptr %x, ptr %basename)
  %failed = icmp eq ptr %b0, null
  br i1 %failed, label %no, label %found
found:
  %own = icmp eq ptr %b0, %none
  br i1 %own, label %mine, label %based
mine:
  call void @Py_DecRef(ptr %b0)
  call void @Py_IncRef(ptr %x)
  %r0 = call i32 @PyObject_SetAttr(ptr %x, ptr %viewedname, ptr %true)
  br label %based
based:
  %base = phi ptr [ %b0, %found ], [ %x, %mine ]
  %r0b = phi i32 [ 0, %found ], [ %r0, %mine ]
  %r1 = call i32 @PyObject_SetAttr(ptr %h, ptr %basename, ptr %base)
  %r2 = call i32 @PyObject_SetAttr(ptr %h, ptr %chainname, ptr %chain)
  %version = call ptr @PyObject_GetAttr(ptr %base, ptr %versionname)
  %v0 = icmp eq ptr %version, null
  br i1 %v0, label %drop, label %seen
seen:
  %r3 = call i32 @PyObject_SetAttr(ptr %h, ptr %seenname, ptr %version)
  call void @Py_DecRef(ptr %version)
  %r4 = call i32 @note_view(ptr %config, ptr %trace, ptr %h, ptr %base)
  call void @Py_DecRef(ptr %base)
  %r01 = or i32 %r0b, %r1
  %r23 = or i32 %r2, %r3
  %r014 = or i32 %r01, %r4
  %r = or i32 %r014, %r23
  %fine = icmp eq i32 %r, 0
  ret i1 %fine
drop:
  call void @Py_DecRef(ptr %base)
  br label %no
yes:
  ret i1 true
no:
  ret i1 false
}

define ptr @replay(ptr %self, ptr %args, i64 %n) {
entry:
  %pos = alloca i64
  %key = alloca ptr
  %value = alloca ptr
  %config = call ptr @PyBytes_AsString(ptr %self)
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
  %count = call i64 @PyTuple_Size(ptr %given)
  %several = call i64 @PyTuple_Size(ptr %known)
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
  %call = call ptr @PyTuple_GetItem(ptr %known, i64 %k)
  %cgrad = slot Call.grad %call
  %t1 = icmp eq ptr %cgrad, %grad
  br i1 %t1, label %try.mode, label %next
try.mode:
  %cmode = slot Call.mode %call
  %t2 = icmp eq ptr %cmode, %mode
  br i1 %t2, label %try.count, label %next
try.count:
  %wanted = slot Call.wanted %call
  %wcount = call i64 @PyTuple_Size(ptr %wanted)
  %t3 = icmp eq i64 %wcount, %count
  br i1 %t3, label %try.names, label %next
try.names:
  %cnames = slot Call.names %call
  %cncount = call i64 @PyTuple_Size(ptr %cnames)
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
  %cname = call ptr @PyTuple_GetItem(ptr %cnames, i64 %ki)
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
  %a = call ptr @PyTuple_GetItem(ptr %given, i64 %i)
  %w = call ptr @PyTuple_GetItem(ptr %wanted, i64 %i)
  %t8 = icmp eq ptr %a, %w
  br i1 %t8, label %arg.fits, label %arg.kind
arg.kind:
  %wtypep = getelementptr i8, ptr %w, i64 8
  %wtype = load ptr, ptr %wtypep
  %t9 = icmp eq ptr %wtype, %State
  br i1 %t9, label %state, label %arg.entry
state:
  %s1 = call i1 @tensor(ptr %config, ptr %a)
  br i1 %s1, label %state.within, label %next
state.within:
  %awithin = slot Handle.within %a
  %s2 = icmp eq ptr %awithin, %trace
  br i1 %s2, label %state.same, label %next
state.same:
  %astate = slot Handle.state %a
  %s3 = icmp eq ptr %astate, %w
  br i1 %s3, label %arg.fits, label %next
arg.entry:
  %t10 = icmp eq ptr %wtype, %Entry
  br i1 %t10, label %enter, label %arg.value
enter:
  %n1 = call i1 @tensor(ptr %config, ptr %a)
  br i1 %n1, label %enter.plain, label %next
enter.plain:
  %n2 = call i1 @enterable(ptr %config, ptr %a, ptr %w)
  br i1 %n2, label %arg.fits, label %next
arg.value:
  %atypep = getelementptr i8, ptr %a, i64 8
  %atype = load ptr, ptr %atypep
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
  %x = call ptr @PyTuple_GetItem(ptr %given, i64 0)
  %basename = const base
  %chainname = const chain
  %shape = call ptr @PyTuple_GetItem(ptr %src, i64 0)
  %chain = call ptr @PyTuple_GetItem(ptr %src, i64 1)
  %base = icmp eq ptr %shape, %none
  %xbase = call i1 @is(ptr %config, ptr %x, ptr %basename, ptr %none)
  %alike = icmp eq i1 %base, %xbase
  br i1 %alike, label %derived.how, label %next
derived.how:
  br i1 %base, label %checks, label %derived.chain
derived.chain:
  %d1 = call i1 @is(ptr %config, ptr %x, ptr %chainname, ptr %chain)
  br i1 %d1, label %checks, label %miss
checks:
  %checked = slot Call.checks %call
  %checkcount = call i64 @PyTuple_Size(ptr %checked)
  %t13 = icmp eq i64 %checkcount, 0
  br i1 %t13, label %take, label %miss

take:
  call void @Py_IncRef(ptr %call)
  br label %bring
bring:
  %j = phi i64 [ 0, %take ], [ %j1, %bring.next ]
  %b1 = icmp slt i64 %j, %count
  br i1 %b1, label %bring.test, label %move
bring.test:
  %bw = call ptr @PyTuple_GetItem(ptr %wanted, i64 %j)
  %bwtypep = getelementptr i8, ptr %bw, i64 8
  %bwtype = load ptr, ptr %bwtypep
  %b2 = icmp eq ptr %bwtype, %Entry
  br i1 %b2, label %bring.one, label %bring.next
bring.one:
  %ba = call ptr @PyTuple_GetItem(ptr %given, i64 %j)
  %b3 = call i1 @bring(ptr %config, ptr %trace, ptr %ba, ptr %bw)
  br i1 %b3, label %bring.next, label %fail
bring.next:
  %j1 = add i64 %j, 1
  br label %bring
move:
  %end = slot Call.end %call
  keep Trace.state %trace %end
  %numbers = slot Call.scalars %call
  %numbercount = call i64 @PyList_Size(ptr %numbers)
  %m1 = icmp eq i64 %numbercount, 0
  br i1 %m1, label %results, label %numbered
numbered:
  %scalars = slot Trace.scalars %trace
  %longer = call ptr @PySequence_InPlaceConcat(ptr %scalars, ptr %numbers)
  %m2 = icmp eq ptr %longer, null
  br i1 %m2, label %fail, label %concat
concat:
  call void @Py_DecRef(ptr %longer)
  br label %results
results:
  %states = slot Call.results %call
  %chains = slot Call.chains %call
  %single = slot Call.single %call
  %r1 = icmp eq ptr %single, %true
  br i1 %r1, label %one, label %many
one:
  %onestate = call ptr @PyTuple_GetItem(ptr %states, i64 0)
  %h = call ptr @made(ptr %config, ptr %trace, ptr %onestate)
  %r2 = icmp eq ptr %h, null
  br i1 %r2, label %fail, label %one.view
one.view:
  br i1 %plain, label %one.done, label %one.derive
one.derive:
  %onefirst = call ptr @PyTuple_GetItem(ptr %given, i64 0)
  %onechain = call ptr @PyTuple_GetItem(ptr %chains, i64 0)
  %r3 = call i1 @derive(ptr %config, ptr %trace, ptr %h, ptr %onechain, ptr %onefirst)
  br i1 %r3, label %one.done, label %one.fail
one.done:
  call void @Py_DecRef(ptr %call)
  ret ptr %h
one.fail:
  call void @Py_DecRef(ptr %h)
  br label %fail
many:
  %rcount = call i64 @PyTuple_Size(ptr %states)
  %tuple = call ptr @PyTuple_New(i64 %rcount)
  %r4 = icmp eq ptr %tuple, null
  br i1 %r4, label %fail, label %many.next
many.next:
  %q = phi i64 [ 0, %many ], [ %q1, %many.kept ]
  %r5 = icmp slt i64 %q, %rcount
  br i1 %r5, label %many.one, label %many.done
many.one:
  %qstate = call ptr @PyTuple_GetItem(ptr %states, i64 %q)
  %qh = call ptr @made(ptr %config, ptr %trace, ptr %qstate)
  %r6 = icmp eq ptr %qh, null
  br i1 %r6, label %many.fail, label %many.put
many.put:
  %put = call i32 @PyTuple_SetItem(ptr %tuple, i64 %q, ptr %qh)
  br i1 %plain, label %many.kept, label %many.derive
many.derive:
  %qfirst = call ptr @PyTuple_GetItem(ptr %given, i64 0)
  %qchain = call ptr @PyTuple_GetItem(ptr %chains, i64 %q)
  %r7 = call i1 @derive(ptr %config, ptr %trace, ptr %qh, ptr %qchain, ptr %qfirst)
  br i1 %r7, label %many.kept, label %many.fail
many.kept:
  %q1 = add i64 %q, 1
  br label %many.next
many.done:
  call void @Py_DecRef(ptr %call)
  ret ptr %tuple
many.fail:
  call void @Py_DecRef(ptr %tuple)
  br label %fail
fail:
  call void @Py_DecRef(ptr %call)
  ret ptr null
miss:
  call void @Py_IncRef(ptr %none)
  ret ptr %none
}
"""
