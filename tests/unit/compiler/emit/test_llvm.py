"""Loops as LLVM IR: valid for every instruction, and it computes what was asked."""

import re
import struct
from dataclasses import replace

import llvmlite.binding as llvm
import numpy as np
import pytest

from tenor.compiler.emit.llvm import emit
from tenor.compiler.emit.types import literal, suffix, type_name
from tenor.ir.loops import Function, Value, lanes, vector
from tenor.ir.program import ABI, Lowered
from tenor.ir.target import BESIDE_AVX2
from tests.jit import host, run_kernel


def kernel(write, buffers=2):
    """Return a kernel of one tile; `write(f, *pointers)` writes its body."""
    f = Function("kernel", ABI, exported=True)
    args = f.params[0]
    write(f, *(f.load("ptr", args, k) for k in range(buffers)))
    return Lowered(f, 1)


def compute(write, x, out):
    """Run a kernel on one input and one output; return the output."""
    run_kernel(kernel(write), [x, out])
    return out


@pytest.mark.parametrize(
    ("type_", "name", "short"),
    [
        ("f32", "float", "f32"), ("f64x4", "<4 x double>", "v4f64"), ("i1x8", "<8 x i1>", "v8i1"),
        ("f16x2", "<2 x half>", "v2f16"), ("ptr", "ptr", "ptr"), ("i64", "i64", "i64"),
    ],
)  # fmt: skip
def test_types(type_, name, short):
    assert type_name(type_) == name
    assert suffix(type_) == short


FLOATS = [
    0.0,
    -0.0,
    1.0,
    -2.5,
    0.1,
    1e-40,
    3e38,
    float("inf"),
    float("-inf"),
    float("nan"),
    65519.9,
]


@pytest.mark.parametrize("value", FLOATS)
@pytest.mark.parametrize(("scalar", "dtype"), [("f32", np.float32), ("f64", np.float64)])
def test_float_literals_are_exact(scalar, dtype, value):
    out = compute(
        lambda f, x, y: f.store(f.const(value, scalar), y), np.zeros(1), np.zeros(1, dtype)
    )
    assert out.tobytes() == np.array([value], dtype).tobytes() or (
        np.isnan(value) and np.isnan(out[0])
    )


def test_a_literal_too_large_for_float32_is_infinite():
    assert literal(1e300, "f32") == literal(float("inf"), "f32")
    assert literal(-1e300, "f32") == literal(float("-inf"), "f32")


def test_halves_and_integers_are_literals():
    assert literal(1.5, "f16") == "0xH" + struct.pack(">e", 1.5).hex().upper()
    assert literal(-7, "i16") == "-7"
    assert literal(1, "i1") == "true"
    assert literal(0, "ptr") == "null"


BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "and": np.bitwise_and,
    "or": np.bitwise_or, "xor": np.bitwise_xor, "smin": np.minimum, "smax": np.maximum,
    "sdiv": lambda a, b: (a / b).astype(a.dtype), "srem": np.fmod,
    "shl": np.left_shift, "ashr": np.right_shift,
}  # fmt: skip


@pytest.mark.parametrize("count", [1, 4, 16])
@pytest.mark.parametrize("name", BINARY)
def test_integer_operations(name, count):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.integers(-50, 50, count), rng.integers(1, 9, count)]).astype(np.int32)

    def write(f, a, b):
        kind = vector("i32", count)
        f.store(f.op(name, f.load(kind, a), f.load(kind, a, count)), b)

    assert np.array_equal(
        compute(write, x, np.zeros(count, np.int32)), BINARY[name](x[:count], x[count:])
    )


UNARY = {"fneg": np.negative, "fabs": np.abs, "sqrt": np.sqrt, "floor": np.floor, "ceil": np.ceil,
         "trunc": np.trunc, "roundeven": np.rint}  # fmt: skip


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("name", UNARY)
def test_float_operations_of_one_operand(name, count):
    x = np.abs(np.random.default_rng(0).normal(size=count) * 5).astype(np.float32)

    def write(f, a, b):
        f.store(f.unary(name, f.load(vector("f32", count), a)), b)

    assert np.array_equal(compute(write, x, np.zeros(count, np.float32)), UNARY[name](x))


FLOAT_BINARY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "fdiv": np.divide,
                "fmin": np.minimum, "fmax": np.maximum, "frem": np.fmod}  # fmt: skip


@pytest.mark.parametrize("name", FLOAT_BINARY)
def test_float_operations_of_two_operands(name):
    x = np.random.default_rng(0).normal(size=16)

    def write(f, a, b):
        f.store(f.op(name, f.load("f64x8", a), f.load("f64x8", a, 8)), b)

    assert np.array_equal(compute(write, x, np.zeros(8)), FLOAT_BINARY[name](x[:8], x[8:]))


def test_fma_rounds_once():
    a = np.array([1 + 2.0**-27, 1 - 2.0**-27, -1.0])
    out = compute(
        lambda f, x, y: f.store(f.fma(*(f.load("f64", x, k) for k in range(3))), y), a, np.zeros(1)
    )
    assert out[0] == -(2.0**-54)


def test_a_target_without_fma_asks_for_none():
    def write(f, a, b):
        f.store(f.fma(*(f.load("f32", a, k) for k in range(3))), b)

    text = emit(kernel(write).function, "kernel", replace(host(), has_fma=False))
    assert "llvm.fmuladd.f32" in text
    assert "llvm.fma.f32" not in text


def test_no_operation_may_be_reassociated():
    def write(f, a, b):
        f.store(f.add(f.mul(f.load("f32", a), f.load("f32", a, 1)), f.load("f32", a, 2)), b)

    text = emit(kernel(write).function, "kernel", host())
    assert "fast" not in text
    assert "contract" not in text
    assert "fma" not in text


CASTS = [
    ("sext", "i8", "i64", [-3, 5], np.int8, np.int64),
    ("zext", "i8", "i64", [-3, 5], np.int8, np.uint64),
    ("trunc_int", "i64", "i16", [70000, -1], np.int64, np.int16),
    ("sitofp", "i32", "f32", [-3, 7], np.int32, np.float32),
    ("uitofp", "i8", "f64", [-1, 7], np.int8, np.float64),
    ("fptosi", "f32", "i32", [-2.7, 3.9], np.float32, np.int32),
    ("fpext", "f16", "f32", [0.1, -2], np.float16, np.float32),
    ("fptrunc", "f64", "f32", [0.1, 1e30], np.float64, np.float32),
    ("bitcast", "f32", "i32", [1.0, -0.0], np.float32, np.int32),
]


@pytest.mark.parametrize(("name", "source", "target", "values", "numpy_in", "numpy_out"), CASTS)
@pytest.mark.parametrize("count", [1, 2])
def test_conversions(name, source, target, values, numpy_in, numpy_out, count):
    x = np.array(values[:count]).astype(numpy_in)

    def write(f, a, b):
        f.store(f.convert(name, f.load(vector(source, count), a), vector(target, count)), b)

    out = compute(write, x, np.zeros(count, numpy_out))
    if name == "bitcast":
        assert out.tobytes() == x.tobytes()
    else:
        wanted = x.view(np.uint8) if name in ("zext", "uitofp") else x
        assert np.array_equal(out, wanted.astype(numpy_out))


def test_vectors_are_taken_apart_and_put_together():
    x = np.arange(8, dtype=np.float32)

    def write(f, a, b):
        v = f.load("f32x8", a)
        v = f.shuffle(v, v, (7, 6, 5, 4, 3, 2, 1, 0))
        v = f.insert(v, 2, f.extract(v, 7))
        f.store(f.add(v, f.splat(f.extract(v, f.const(1, "i64")), 8)), b)

    wanted = x[::-1].copy()
    wanted[2] = wanted[7]
    assert np.array_equal(compute(write, x, np.zeros(8, np.float32)), wanted + wanted[1])


def test_lanes_are_counted():
    def write(f, a, b):
        f.store(f.iota("i64x4"), b)
        f.store(f.iota("i64"), b, 4)

    out = np.full(5, -1)
    assert list(compute(write, np.zeros(1), out)) == [0, 1, 2, 3, 0]


def test_masked_lanes_are_neither_read_nor_written():
    x = np.arange(4, dtype=np.float32)

    def write(f, a, b):
        mask = f.compare("slt", f.iota("i64x4"), f.const(3, "i64x4"))
        f.store(f.add(f.load("f32x4", a, mask=mask), f.const(1.0, "f32x4")), b, mask=mask)

    assert list(compute(write, x, np.full(4, 9, np.float32))) == [1, 2, 3, 9]


@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("known", [True, False])
def test_loops_run_as_often_as_they_should(n, known):
    x = np.array([n])

    def write(f, a, b):
        high = n if known else f.load("i64", a)
        total, product = f.loop(
            0, high, 1, lambda i, c: [f.add(c[0], i), f.mul(c[1], 2)],
            [f.const(10, "i64"), f.const(1, "i64")],
        )  # fmt: skip
        f.store(total, b)
        f.store(product, b, 1)

    assert list(compute(write, x, np.zeros(2, np.int64))) == [10 + sum(range(n)), 2**n]


def test_carried_values_may_change_places():
    def write(f, a, b):
        one, two = f.load("f64", a), f.load("f64", a, 1)
        one, two = f.loop(0, 3, 1, lambda _i, c: [c[1], c[0]], [one, two])
        f.store(one, b)
        f.store(two, b, 1)

    assert list(compute(write, np.array([1.0, 2.0]), np.zeros(2))) == [2, 1]


def test_loops_nest_and_step():
    def write(f, a, b):
        def outer(i, held):
            return f.loop(i, 10, 3, lambda j, c: [f.add(c[0], f.mul(i, j))], held)

        (total,) = f.loop(0, 10, 4, outer, [f.const(0, "i64")])
        f.store(total, b)

    wanted = sum(i * j for i in range(0, 10, 4) for j in range(i, 10, 3))
    assert compute(write, np.zeros(1), np.zeros(1, np.int64))[0] == wanted


def test_while_runs_until_its_condition_fails():
    def write(f, a, b):
        n, steps = f.while_(
            [f.load("i64", a), f.const(0, "i64")],
            lambda c: f.compare("sgt", c[0], 1),
            lambda c: [f.op("ashr", c[0], 1), f.add(c[1], 1)],
        )
        f.store(n, b)
        f.store(steps, b, 1)

    assert list(compute(write, np.array([1000]), np.zeros(2, np.int64))) == [1, 9]
    assert list(compute(write, np.array([1]), np.zeros(2, np.int64))) == [1, 0]


@pytest.mark.parametrize("value", [-4, 6])
def test_branches_give_what_the_taken_one_gives(value):
    def write(f, a, b):
        x = f.load("i64", a)
        (made,) = f.if_(f.compare("slt", x, 0), lambda: [f.sub(0, x)], lambda: [f.mul(x, 10)])
        f.if_(f.compare("sgt", x, 0), lambda: f.store(f.const(1, "i64"), b, 1))
        f.store(made, b)

    out = compute(write, np.array([value]), np.zeros(2, np.int64))
    assert list(out) == [abs(value) if value < 0 else value * 10, value > 0]


def test_functions_call_functions():
    inner = Function("twice", [("p", "ptr")])
    inner.store(inner.mul(inner.load("f64", inner.params[0]), f64(2.0)), inner.params[0])

    def write(f, a, b):
        f.store(f.load("f64", a), b)
        f.call(inner, [b])
        f.call(inner, [b])

    assert compute(write, np.array([3.0]), np.zeros(1))[0] == 12
    text = emit(kernel(write).function, "k_1", host())
    assert text.count("define internal void @k_1.twice") == 1


def f64(value):
    return Value("f64", const=value)


def test_a_hoisted_instruction_stands_before_its_loop():
    def write(f, a, b):
        entry = f.block

        def body(i, _):
            with f.into(entry):
                x = f.load("f64", a)
            f.store(x, b, i)

        f.loop(0, 3, 1, body)

    out = compute(write, np.array([5.0]), np.zeros(3))
    assert list(out) == [5, 5, 5]


def test_the_text_depends_on_the_function_alone():
    def write(f, a, b):
        f.store(
            f.add(f.unary("sqrt", f.load("f32x8", a)), f.unary("floor", f.load("f32x8", a, 8))), b
        )

    texts = {emit(kernel(write).function, "kernel", host()) for _ in range(3)}
    assert len(texts) == 1
    (text,) = texts
    declared = [line for line in text.splitlines() if line.startswith("declare")]
    assert declared == sorted(declared)
    llvm.parse_assembly(text).verify()


def test_lanes_and_types_of_vectors():
    assert lanes(vector("f32", 8)) == 8
    assert vector("f32", 1) == "f32"


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", ["oeq", "une", "olt", "ole", "ogt", "oge", "uno"])
def test_comparisons_of_floats_know_nan(name, dtype):
    numpy = {"f32": np.float32, "f64": np.float64}[dtype]
    every = np.array([(a, b) for a in (1, 2, np.nan) for b in (1, 2, np.nan)], numpy)
    functions = {"oeq": np.equal, "une": np.not_equal, "olt": np.less, "ole": np.less_equal,
                 "ogt": np.greater, "oge": np.greater_equal,
                 "uno": lambda a, b: np.isnan(a) | np.isnan(b)}  # fmt: skip

    def write(f, a, b):
        for k in range(len(every)):
            test = f.compare(name, f.load(dtype, a, 2 * k), f.load(dtype, a, 2 * k + 1))
            f.store(f.convert("zext", test, "i8"), b, k)

    out = compute(write, every.ravel(), np.zeros(len(every), np.int8))
    assert np.array_equal(out.astype(bool), functions[name](every[:, 0], every[:, 1]))


def test_a_function_may_be_for_another_machine():
    """Equal functions for two machines are two, each with what its own has."""
    f = Function("f", [("a", "ptr")], exported=True)
    for name, target in (("plain", None), ("wide", BESIDE_AVX2[0]), ("same", None)):
        inner = Function(name, [("a", "ptr")])
        inner.target = target
        inner.store(inner.add(inner.load("i32x16", inner.params[0]), 1), inner.params[0])
        f.call(inner, f.params)
    base = replace(host(), cpu="haswell", features="", vector_bits=256)
    text = emit(f, "f", base)
    assert text.count("define internal") == 2
    assert 'attributes #0 = { nounwind "prefer-vector-width"="256" }' in text
    assert ('attributes #1 = { nounwind "prefer-vector-width"="512" "target-features"='
            f'"{BESIDE_AVX2[0].features}" }}') in text  # fmt: skip
    if base.triple.startswith("x86_64"):
        machine = llvm.Target.from_triple(base.triple).create_target_machine(cpu=base.cpu, opt=2)
        made = machine.emit_assembly(llvm.parse_assembly(text))
        parts = re.split(r"^f(?:\.\w+)?:", made, flags=re.MULTILINE)
        assert ["zmm" in part for part in parts] == [False, False, True, False]
