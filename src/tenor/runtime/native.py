# ruff: noqa: E501 - LLVM's text does not wrap
"""The native half of the runtime, as LLVM IR: the thread pool and the loop over launches.

Pool memory (byte offsets; what different threads write lies on different cache lines)::

    0    epoch (i32)            a new job adds one; workers wait on it
    4    threads (i32)          the caller and the workers
    8    job: kernel, arguments, tiles, chunk, status; read by whoever has seen the new epoch
    64   state (i64)            epoch << 32 | closed << 31 | workers inside
    128  sleepers (i32)
    192  scratch of each thread (ptr), thread 0 unused
    704  share of each thread, 64 bytes apart (i64): first chunk left | end of the chunks << 32

The tiles of a job are cut into as many even, contiguous shares as there are threads: a thread
takes its own from the front, and then what others have left from their ends. So the same thread
meets the same part of a weight in every call, and of a result in every launch over it, and finds
it in its own cache.

A worker enters a job only while it is open and its epoch matches; the caller takes tiles too,
then closes the job and waits for those that entered. A worker that is asleep or descheduled never
holds the caller up. One that looks for work spins, and does not offer its core to others: beside a
library whose threads spin as well it would never get it back in time. Workers that sleep are woken
when a program begins.

A launch is five words: kernel, first argument, number of arguments, tiles, chunk (0: run here;
less than 0: shared while no worker sleeps, as it is done before one would have woken up).
An argument is two words: number of a base pointer, byte offset.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SPINS", "text"]

SPINS: Final = 20_000
"""How often an idle worker looks for work before it sleeps: some hundred microseconds."""

_PAUSE: Final = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}

_TEXT: Final = """
declare i64 @llvm.abs.i64(i64, i1)
declare i64 @syscall(i64, ...)
declare i32 @sched_yield()
declare ptr @PyLong_AsVoidPtr(ptr)
declare ptr @PyLong_FromLongLong(i64)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)

define internal void @work(ptr %pool, i64 %tid, ptr %scratch) noinline {
entry:
  %countp = getelementptr i8, ptr %pool, i64 4
  %fnp = getelementptr i8, ptr %pool, i64 8
  %argp = getelementptr i8, ptr %pool, i64 16
  %tilesp = getelementptr i8, ptr %pool, i64 24
  %chunkp = getelementptr i8, ptr %pool, i64 32
  %statusp = getelementptr i8, ptr %pool, i64 40
  %sharesp = getelementptr i8, ptr %pool, i64 704
  %count32 = load i32, ptr %countp
  %count = zext i32 %count32 to i64
  %fn = load ptr, ptr %fnp
  %args = load ptr, ptr %argp
  %tiles = load i64, ptr %tilesp
  %chunk = load i64, ptr %chunkp
  %status = load ptr, ptr %statusp
  br label %share
share:
  %left = phi i64 [ %count, %entry ], [ %left1, %next ]
  %who = phi i64 [ %tid, %entry ], [ %who2, %next ]
  %off = mul i64 %who, 64
  %sharep = getelementptr i8, ptr %sharesp, i64 %off
  %own = icmp eq i64 %who, %tid
  br label %look
look:
  %s = load atomic i64, ptr %sharep monotonic, align 64
  %lo = and i64 %s, 4294967295
  %hi = lshr i64 %s, 32
  %some = icmp ult i64 %lo, %hi
  br i1 %some, label %take, label %next
take:
  %front = add i64 %s, 1
  %back = sub i64 %s, 4294967296
  %last = sub i64 %hi, 1
  %rest = select i1 %own, i64 %front, i64 %back
  %at = select i1 %own, i64 %lo, i64 %last
  %cx = cmpxchg ptr %sharep, i64 %s, i64 %rest monotonic monotonic, align 64
  %mine = extractvalue { i64, i1 } %cx, 1
  br i1 %mine, label %run, label %look
run:
  %t = mul i64 %at, %chunk
  %e0 = add i64 %t, %chunk
  %over = icmp sgt i64 %e0, %tiles
  %e = select i1 %over, i64 %tiles, i64 %e0
  call void %fn(ptr %args, i64 %t, i64 %e, ptr %scratch, ptr %status)
  br label %look
next:
  %left1 = sub i64 %left, 1
  %who1 = add i64 %who, 1
  %wrap = icmp eq i64 %who1, %count
  %who2 = select i1 %wrap, i64 0, i64 %who1
  %none = icmp eq i64 %left1, 0
  br i1 %none, label %done, label %share
done:
  ret void
}

define ptr @worker(ptr %wa) {
entry:
  %pool = load ptr, ptr %wa
  %tp = getelementptr i8, ptr %wa, i64 8
  %tid = load i64, ptr %tp
  %statep = getelementptr i8, ptr %pool, i64 64
  %sleepp = getelementptr i8, ptr %pool, i64 128
  %soff = mul i64 %tid, 8
  %soff2 = add i64 %soff, 192
  %scrp = getelementptr i8, ptr %pool, i64 %soff2
  %first = load atomic i32, ptr %pool acquire, align 4
  br label %outer
outer:
  %seen = phi i32 [ %first, %entry ], [ %now, %enter ], [ %now, %leave ]
  br label %spin
spin:
  %s = phi i64 [ 0, %outer ], [ %s1, %again ]
  %e = load atomic i32, ptr %pool acquire, align 4
  %new = icmp ne i32 %e, %seen
  br i1 %new, label %go, label %again
again:
  PAUSE
  %s1 = add i64 %s, 1
  %low = icmp ult i64 %s1, SPINS
  br i1 %low, label %spin, label %sleep
sleep:
  %w0 = atomicrmw add ptr %sleepp, i32 1 seq_cst
  br label %check
check:
  %eb = load atomic i32, ptr %pool seq_cst, align 4
  %newb = icmp ne i32 %eb, %seen
  br i1 %newb, label %wake, label %wait
wait:
  %r = call i64 (i64, ...) @syscall(i64 FUTEX, ptr %pool, i64 128, i32 %seen, ptr null, ptr null, i64 0)
  br label %check
wake:
  %w1 = atomicrmw sub ptr %sleepp, i32 1 seq_cst
  br label %go
go:
  %now = load atomic i32, ptr %pool acquire, align 4
  %now64 = zext i32 %now to i64
  %high = shl i64 %now64, 32
  br label %enter
enter:
  %st = load atomic i64, ptr %statep acquire, align 8
  %open = and i64 %st, -2147483648
  %match = icmp eq i64 %open, %high
  br i1 %match, label %cas, label %outer
cas:
  %st1 = add i64 %st, 1
  %cx = cmpxchg ptr %statep, i64 %st, i64 %st1 acq_rel acquire, align 8
  %ok = extractvalue { i64, i1 } %cx, 1
  br i1 %ok, label %inside, label %enter.again
enter.again:
  br label %go
inside:
  %scratch = load ptr, ptr %scrp
  call void @work(ptr %pool, i64 %tid, ptr %scratch)
  br label %leave
leave:
  %d = atomicrmw sub ptr %statep, i64 1 release
  br label %outer
}

define internal void @wake(ptr %pool) noinline {
entry:
  %sleepp = getelementptr i8, ptr %pool, i64 128
  %w = load atomic i32, ptr %sleepp seq_cst, align 4
  %asleep = icmp ne i32 %w, 0
  br i1 %asleep, label %call, label %out
call:
  %r = call i64 (i64, ...) @syscall(i64 FUTEX, ptr %pool, i64 129, i32 1000, ptr null, ptr null, i64 0)
  br label %out
out:
  ret void
}

; A new epoch without a job: who sleeps looks for work again, who enters finds it closed.
define internal void @rouse(ptr %pool) noinline {
entry:
  %sleepp = getelementptr i8, ptr %pool, i64 128
  %w = load atomic i32, ptr %sleepp seq_cst, align 4
  %asleep = icmp ne i32 %w, 0
  br i1 %asleep, label %turn, label %out
turn:
  %e = load i32, ptr %pool
  %e1 = add i32 %e, 1
  %e2 = and i32 %e1, 2147483647
  %old = atomicrmw xchg ptr %pool, i32 %e2 seq_cst
  call void @wake(ptr %pool)
  br label %out
out:
  ret void
}

define internal void @spread(ptr %pool, ptr %fn, ptr %args, i64 %tiles, i64 %chunk, ptr %scratch, ptr %status) noinline {
entry:
  %countp = getelementptr i8, ptr %pool, i64 4
  %fnp = getelementptr i8, ptr %pool, i64 8
  %argp = getelementptr i8, ptr %pool, i64 16
  %tilesp = getelementptr i8, ptr %pool, i64 24
  %chunkp = getelementptr i8, ptr %pool, i64 32
  %statusp = getelementptr i8, ptr %pool, i64 40
  %statep = getelementptr i8, ptr %pool, i64 64
  %sharesp = getelementptr i8, ptr %pool, i64 704
  store ptr %fn, ptr %fnp
  store ptr %args, ptr %argp
  store i64 %tiles, ptr %tilesp
  store i64 %chunk, ptr %chunkp
  store ptr %status, ptr %statusp
  %count32 = load i32, ptr %countp
  %count = zext i32 %count32 to i64
  %up = add i64 %tiles, %chunk
  %up1 = sub i64 %up, 1
  %chunks = udiv i64 %up1, %chunk
  br label %cut
cut:
  %i = phi i64 [ 0, %entry ], [ %i1, %cut ]
  %lo = phi i64 [ 0, %entry ], [ %hi, %cut ]
  %i1 = add i64 %i, 1
  %part = mul i64 %i1, %chunks
  %hi = udiv i64 %part, %count
  %end = shl i64 %hi, 32
  %share = or i64 %end, %lo
  %off = mul i64 %i, 64
  %sharep = getelementptr i8, ptr %sharesp, i64 %off
  store atomic i64 %share, ptr %sharep monotonic, align 64
  %more = icmp ult i64 %i1, %count
  br i1 %more, label %cut, label %open
open:
  %e = load i32, ptr %pool
  %e1 = add i32 %e, 1
  %e2 = and i32 %e1, 2147483647
  %e64 = zext i32 %e2 to i64
  %high = shl i64 %e64, 32
  store atomic i64 %high, ptr %statep release, align 8
  %old = atomicrmw xchg ptr %pool, i32 %e2 seq_cst
  call void @wake(ptr %pool)
  br label %run
run:
  call void @work(ptr %pool, i64 0, ptr %scratch)
  %cl = atomicrmw or ptr %statep, i64 2147483648 acq_rel
  br label %wait
wait:
  %c = phi i64 [ 0, %run ], [ %c1, %hold ], [ 0, %yield ]
  %d = load atomic i64, ptr %statep acquire, align 8
  %in = and i64 %d, 2147483647
  %none = icmp eq i64 %in, 0
  br i1 %none, label %out, label %hold
hold:
  PAUSE
  %c1 = add i64 %c, 1
  %long = icmp ugt i64 %c1, 2000
  br i1 %long, label %yield, label %wait
yield:
  %yy = call i32 @sched_yield()
  br label %wait
out:
  ret void
}

define void @execute(ptr %call) {
entry:
  ; call: launches, count, arguments, bases, argument buffer, scratch, status, pool (or null), rouse
  %p1 = getelementptr i64, ptr %call, i64 1
  %p2 = getelementptr i64, ptr %call, i64 2
  %p3 = getelementptr i64, ptr %call, i64 3
  %p4 = getelementptr i64, ptr %call, i64 4
  %p5 = getelementptr i64, ptr %call, i64 5
  %p6 = getelementptr i64, ptr %call, i64 6
  %p7 = getelementptr i64, ptr %call, i64 7
  %launches = load ptr, ptr %call
  %count = load i64, ptr %p1
  %arguments = load ptr, ptr %p2
  %bases = load ptr, ptr %p3
  %argbuf = load ptr, ptr %p4
  %scratch = load ptr, ptr %p5
  %status = load ptr, ptr %p6
  %pool = load ptr, ptr %p7
  %nopool = icmp eq ptr %pool, null
  store i64 0, ptr %status
  br i1 %nopool, label %head, label %ask
ask:
  %p8 = getelementptr i64, ptr %call, i64 8
  %long = load i64, ptr %p8
  %islong = icmp ne i64 %long, 0
  br i1 %islong, label %rouse, label %head
rouse:
  call void @rouse(ptr %pool)
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ 0, %ask ], [ 0, %rouse ], [ %i1, %next ]
  %left = icmp slt i64 %i, %count
  br i1 %left, label %body, label %done
body:
  %at = mul i64 %i, 5
  %l0 = getelementptr i64, ptr %launches, i64 %at
  %l1 = getelementptr i64, ptr %l0, i64 1
  %l2 = getelementptr i64, ptr %l0, i64 2
  %l3 = getelementptr i64, ptr %l0, i64 3
  %l4 = getelementptr i64, ptr %l0, i64 4
  %fn = load ptr, ptr %l0
  %firstarg = load i64, ptr %l1
  %nargs = load i64, ptr %l2
  %tiles = load i64, ptr %l3
  %chunk = load i64, ptr %l4
  br label %ahead
ahead:
  %j = phi i64 [ 0, %body ], [ %j1, %abody ]
  %aleft = icmp slt i64 %j, %nargs
  br i1 %aleft, label %abody, label %ready
abody:
  %k = add i64 %firstarg, %j
  %k2 = mul i64 %k, 2
  %a0 = getelementptr i64, ptr %arguments, i64 %k2
  %a1 = getelementptr i64, ptr %a0, i64 1
  %which = load i64, ptr %a0
  %offset = load i64, ptr %a1
  %bp = getelementptr ptr, ptr %bases, i64 %which
  %base = load ptr, ptr %bp
  %target = getelementptr i8, ptr %base, i64 %offset
  %slot = getelementptr ptr, ptr %argbuf, i64 %j
  store ptr %target, ptr %slot
  %j1 = add i64 %j, 1
  br label %ahead
ready:
  %alone = icmp eq i64 %chunk, 0
  %serial = or i1 %alone, %nopool
  br i1 %serial, label %here, label %shared
shared:
  %brief = icmp slt i64 %chunk, 0
  br i1 %brief, label %awake, label %there
awake:
  %sleepp = getelementptr i8, ptr %pool, i64 128
  %w = load atomic i32, ptr %sleepp monotonic, align 4
  %asleep = icmp ne i32 %w, 0
  br i1 %asleep, label %here, label %there
here:
  call void %fn(ptr %argbuf, i64 0, i64 %tiles, ptr %scratch, ptr %status)
  br label %after
there:
  %piece = call i64 @llvm.abs.i64(i64 %chunk, i1 true)
  call void @spread(ptr %pool, ptr %fn, ptr %argbuf, i64 %tiles, i64 %piece, ptr %scratch, ptr %status)
  br label %after
after:
  %code = load i64, ptr %status
  %bad = icmp ne i64 %code, 0
  br i1 %bad, label %done, label %next
next:
  %i1 = add i64 %i, 1
  br label %head
done:
  ret void
}

; The same as methods of CPython: one integer argument, the address of the call block.
define ptr @run_held(ptr %self, ptr %address) {
  %call = call ptr @PyLong_AsVoidPtr(ptr %address)
  call void @execute(ptr %call)
  %p6 = getelementptr i64, ptr %call, i64 6
  %status = load ptr, ptr %p6
  %code = load i64, ptr %status
  %result = call ptr @PyLong_FromLongLong(i64 %code)
  ret ptr %result
}

define ptr @run_released(ptr %self, ptr %address) {
  %call = call ptr @PyLong_AsVoidPtr(ptr %address)
  %thread = call ptr @PyEval_SaveThread()
  call void @execute(ptr %call)
  call void @PyEval_RestoreThread(ptr %thread)
  %p6 = getelementptr i64, ptr %call, i64 6
  %status = load ptr, ptr %p6
  %code = load i64, ptr %status
  %result = call ptr @PyLong_FromLongLong(i64 %code)
  ret ptr %result
}
"""


def text(machine: str, spins: int = SPINS) -> str:
    """Return the module for a machine ("x86_64", "aarch64")."""
    futex = {"x86_64": "202", "aarch64": "98"}.get(machine, "0")
    declaration, pause = _PAUSE.get(machine, ("", ""))
    return declaration + _TEXT.replace("PAUSE", pause).replace("SPINS", str(spins)).replace(
        "FUTEX", futex
    )
