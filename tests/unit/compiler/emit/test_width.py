"""Indices are 32 bits wide where pointers are, and data never is."""

import pytest

from tenor.compiler.emit.llvm import emit
from tenor.compiler.emit.width import counts_in_words, indices_only
from tenor.ir.loops import Function
from tenor.ir.target import Target
from tenor.runtime import cross

SMALL = Target("thumbv7em-unknown-none-eabihf", "cortex-m4", "+vfp4d16sp", 32, 16)
LARGE = Target("aarch64-unknown-linux-gnu", "generic", "+neon", 128, 32)
PARAMS = [("x", "ptr"), ("y", "ptr"), ("n", "i64")]


def copying(kind="f32", count=None):
    """Return a function that copies elements."""
    f = Function("copy", PARAMS, exported=True)
    x, y, n = f.params
    f.loop(0, n if count is None else count, 1, lambda i, _: f.store(f.load(kind, x, i), y, i))
    return f


def test_a_loop_of_indices_counts_in_words():
    text = emit(copying(), "copy", SMALL)
    assert counts_in_words(copying(), SMALL)
    assert "phi i32" in text
    assert "i64 %v3.wide" in text  # what others hand over is as wide as before
    assert "phi i64" not in text
    assert cross.object_file(text, SMALL)


def test_a_machine_of_64_bits_counts_in_them():
    text = emit(copying(), "copy", LARGE)
    assert not counts_in_words(copying(), LARGE)
    assert "phi i64" in text
    assert "i32 %" not in text


def made(write):
    f = Function("f", PARAMS, exported=True)
    write(f, *f.params)
    return f


def low(f, value):
    """Return an "i64" as an "i32"."""
    return f.convert("trunc_int", value, "i32")


def exponent(f, x, y, n):
    f.store(low(f, f.op("lshr", f.convert("bitcast", f.load("f64", x), "i64"), 52)), y)


def product(f, x, y, n):
    wide = f.mul(f.convert("zext", f.load("i32", x), "i64"), 77)
    f.store(low(f, f.op("lshr", wide, 32)), y)


DATA = {
    "elements": lambda f, x, y, n: f.store(f.load("i64", x, n), y, n),
    "bits of a float": exponent,
    "a float's value": lambda f, x, y, n: f.store(
        low(f, f.convert("fptosi", f.load("f32", x), "i64")), y),
    "a whole word": product,
    "a large number": lambda f, x, y, n: f.store(
        f.load("f32", x, f.op("srem", f.mul(n, 1 << 33), 5)), y),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_data_keeps_its_width(name):
    function = made(DATA[name])
    assert not indices_only(function)
    assert cross.object_file(emit(function, "f", SMALL), SMALL)


def test_what_lowering_says_is_data_keeps_its_width():
    function = copying()
    assert indices_only(function)
    function.wide = True
    assert "phi i64" in emit(function, "copy", SMALL)


def test_an_index_in_memory_keeps_its_place():
    f = made(lambda f, x, y, n: f.store(f.load("i64", x, n, index=True), y, n, index=True))
    text = emit(f, "f", SMALL)
    assert "load i64" in text
    assert "store i64" in text
    assert "getelementptr i64, ptr %v1, i32 %v3" in text


def test_functions_of_two_widths_call_each_other():
    inner = Function("inner", [("x", "ptr"), ("at", "i64")])
    inner.store(inner.load("i64", *inner.params), inner.params[0])
    small = Function("small", [("x", "ptr"), ("at", "i64")])
    small.store(small.load("f32", *small.params), small.params[0])
    for first, second in ((inner, small), (small, inner)):
        outer = made(lambda f, x, y, n, first=first: f.call(first, [x, f.add(n, 1)]))
        first.callees = {second.name: second}
        outer.wide = True
        assert cross.object_file(emit(outer, "outer", SMALL), SMALL)
        outer.wide = False
        assert cross.object_file(emit(outer, "outer", SMALL), SMALL)
        first.callees = {}
