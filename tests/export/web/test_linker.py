"""Our linker: what it links runs, and what it does not cover is said."""

import numpy as np
import pytest

from tenor.compiler.emit import llvm
from tenor.errors import CompileError, FormatError, TenorError
from tenor.export.web.linker import PAGE, link
from tenor.ir.loops import Function
from tenor.ir.target import Target
from tenor.runtime import cross

PLAIN = "define i32 @run(i32 %a) {\n %r = mul i32 %a, 3\n ret i32 %r\n}"
DATA = """
@table = internal constant [3 x i32] [i32 7, i32 11, i32 13], align 4
@second = internal constant ptr getelementptr (i8, ptr @table, i32 4), align 4
@empty = internal global [300 x i32] zeroinitializer, align 64
define i32 @run(i32 %i) {
  %p = getelementptr i32, ptr @table, i32 %i
  %a = load i32, ptr %p
  %q = load volatile ptr, ptr @second
  %b = load i32, ptr %q
  %s = getelementptr i32, ptr @empty, i32 %i
  %c = load volatile i32, ptr %s
  %d = mul i32 %b, 100
  %e = add i32 %a, %d
  %f = add i32 %e, %c
  ret i32 %f
}
"""
STACK = """
define internal i32 @sum(ptr %p) noinline {
  %a = load volatile i32, ptr %p
  %q = getelementptr i32, ptr %p, i32 99
  %b = load volatile i32, ptr %q
  %c = add i32 %a, %b
  ret i32 %c
}
define i32 @run(i32 %i) {
  %p = alloca [100 x i32]
  store i32 %i, ptr %p
  %q = getelementptr i32, ptr %p, i32 99
  store i32 5, ptr %q
  %r = call i32 @sum(ptr %p)
  ret i32 %r
}
"""


def made(text, **target):
    return cross.object_file(text, Target.wasm32(**target))


@pytest.fixture
def wasmtime():
    return pytest.importorskip("wasmtime", reason="pip install wasmtime")


def called(wasmtime, linked, *args):
    store = wasmtime.Store()
    instance = wasmtime.Instance(store, wasmtime.Module(store.engine, linked.module), [])
    exports = instance.exports(store)
    assert exports["__heap_base"].value(store) == linked.heap
    assert exports["memory"].data_len(store) == PAGE * linked.pages
    return exports["run"](store, *args)


def test_it_runs(wasmtime):
    linked = link(made(PLAIN))
    assert called(wasmtime, linked, 14) == 42
    assert linked.exports == ("run",)


def test_data_is_found_by_its_address(wasmtime):
    linked = link(made(DATA), 1000)
    for i, value in enumerate((7, 11, 13)):
        assert called(wasmtime, linked, i) == value + 1100
    assert len(linked.module) < 400, "zeros need no bytes"
    assert linked.heap % 64 == 0


def test_the_stack_is_a_global_of_its_own(wasmtime):
    assert called(wasmtime, link(made(STACK)), 37) == 42


def test_memory_is_as_large_as_asked(wasmtime):
    for heap in (0, 1, 5 * PAGE, 100 * PAGE + 1):
        linked = link(made(PLAIN), heap)
        assert linked.heap + heap <= PAGE * linked.pages < linked.heap + heap + PAGE
        called(wasmtime, linked, 1)


def test_memory_may_come_from_outside(wasmtime):
    linked = link(made(DATA), memory="imported")
    store = wasmtime.Store()
    limits = wasmtime.Limits(linked.pages, linked.pages)
    memory = wasmtime.Memory(store, wasmtime.MemoryType(limits))
    module = wasmtime.Module(store.engine, linked.module)
    exports = wasmtime.Instance(store, module, [memory]).exports(store)
    assert exports["run"](store, 2) == 1113
    assert [e.name for e in module.exports] == ["run", "__heap_base"]


def test_shared_memory_gives_its_stack_pointer_out(wasmtime):
    config = wasmtime.Config()
    config.wasm_threads = True
    linked = link(made(STACK), memory="shared")
    module = wasmtime.Module(wasmtime.Engine(config), linked.module)
    assert [e.name for e in module.exports] == ["run", "__heap_base", "__stack_pointer"]


REFUSED = {
    "a function": ("declare float @expf(float)\ndefine float @run(float %a) {\n"
                   " %r = call float @expf(float %a)\n ret float %r\n}", "expf"),
    "an fma": ("declare float @llvm.fma.f32(float, float, float)\ndefine float @run(float %a) {\n"
               " %r = call float @llvm.fma.f32(float %a, float %a, float %a)\n ret float %r\n}",
               "fmaf"),
    "data": ("@x = external global i32\ndefine i32 @run() {\n %r = load i32, ptr @x\n"
             " ret i32 %r\n}", "'x'"),
    "a pointer": ("define internal void @f() noinline {\n ret void\n}\n"
                  "define ptr @run() {\n ret ptr @f\n}", "table|relocation"),
    "a weak symbol": ("define weak i32 @run() {\n ret i32 1\n}", "weak"),
    "a constructor": ("@x = global i32 0\ndefine internal void @f() {\n"
                      " store volatile i32 1, ptr @x\n"
                      " ret void\n}\n@llvm.global_ctors = appending "
                      "global [1 x { i32, ptr, ptr }] [{ i32, ptr, ptr } { i32 9, ptr @f, ptr null"
                      " }]\ndefine i32 @run() {\n ret i32 1\n}", "run first"),
    "another name": ("define i32 @walk() {\n ret i32 1\n}", "no function run"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_covered_is_said(name):
    text, message = REFUSED[name]
    with pytest.raises(CompileError) as found:
        link(made(text))
    assert any(part in str(found.value) for part in message.split("|"))


def test_more_memory_than_there_is():
    with pytest.raises(CompileError, match="one object"):
        link(made(PLAIN), 1 << 32)


def test_bytes_that_are_no_object():
    data = made(DATA)
    for bad in (b"", b"\x7fELF" + bytes(60), data[:8], cross.object_file(PLAIN, Target.aarch64())):
        with pytest.raises(FormatError):
            link(bad)
    ends, at = set(), 8
    while at < len(data):
        length = shift = 0
        at += 1
        while True:
            length |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                break
        at += length
        ends.add(at)
    for length in set(range(9, len(data))) - ends:
        with pytest.raises(TenorError):
            link(data[:length])


@pytest.mark.parametrize("relaxed", [True, False])
def test_a_sum_of_products_is_one_instruction_where_there_is_one(relaxed):
    function = Function("run", (("a", "ptr"),), exported=True)
    a = function.load("f32x4", function.params[0])
    function.store(function.fma(a, a, a), function.params[0])
    target = Target.wasm32(relaxed=relaxed)
    module = link(cross.object_file(llvm.emit(function, "run", target), target)).module
    assert (b"\xfd\x85\x02" in module) == relaxed  # f32x4.relaxed_madd


def test_requantising_clamps_signed(wasmtime):
    """LLVM 22.1.0 loses an unsigned clamp before it narrows (issue 201780): ours are signed."""
    rng = np.random.default_rng(0)
    function = Function("run", (("a", "ptr"), ("b", "ptr")), exported=True)
    wide = function.load("i32x8", function.params[0], align=4)
    low, high = function.const(-128, "i32x8"), function.const(127, "i32x8")
    clamped = function.op("smin", function.op("smax", wide, low), high)
    function.store(function.convert("trunc_int", clamped, "i8x8"), function.params[1], align=1)
    target = Target.wasm32()
    linked = link(cross.object_file(llvm.emit(function, "run", target), target))
    store = wasmtime.Store()
    exports = wasmtime.Instance(
        store, wasmtime.Module(store.engine, linked.module), []
    ).exports(store)  # fmt: skip
    for _ in range(50):
        given = rng.integers(-400, 400, 8).astype(np.int32)
        exports["memory"].write(store, given.tobytes(), linked.heap - 128)
        exports["run"](store, linked.heap - 128, linked.heap - 64)
        came = exports["memory"].read(store, linked.heap - 64, linked.heap - 56)
        np.testing.assert_array_equal(np.frombuffer(came, np.int8), given.clip(-128, 127))
