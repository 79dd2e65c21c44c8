"""Bundles whose members are well-formed and whose programs mean harm."""

from __future__ import annotations

import base64
import json
import os
import random
import tracemalloc

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.errors import FormatError, IndexRangeError, ShapeError, TenorError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.text import parse, to_text
from tenor.save import bundle, load, load_file, load_model, safetensors, save
from tenor.save.guards import guarded
from tenor.save.manifest import Manifest, Signature, TensorSpec
from tenor.save.programs import Program

W = np.arange(12, dtype=np.float32).reshape(4, 3)


def program(text, inputs=(("x", dt.int64, ("batch",)),), outputs=None, weights=None, **limits):
    outputs = outputs or (("y", dt.float32, ("batch", 3)),)
    weights = {"w": W} if weights is None else weights
    signature = Signature(
        "predict", tuple(TensorSpec(*s) for s in inputs), tuple(TensorSpec(*s) for s in outputs),
        tuple(weights),
    )  # fmt: skip
    return Program(signature, text, weights, **limits)


TAKE = """graph {
  %0 = leaf i64[<1*batch+0>]
  %1 = leaf f32[4,3]
  %2 = take f32[<1*batch+0>,3] (%1, %0) dim=0
  return %2
}
"""


def run(text, x, **options):
    x = np.asarray(x, np.int64)
    return program(text, **options).run({"x": x}, {"batch": len(x)})["y"]


# -- memory -----------------------------------------------------------------------------------
def test_indices_nobody_checked_are_checked():
    np.testing.assert_array_equal(run(TAKE, [0, 3, 1]), W[[0, 3, 1]])
    for bad in (4, -1, 1 << 40, -(1 << 62)):
        with pytest.raises(IndexRangeError, match=str(bad)):
            run(TAKE, [0, bad])


@pytest.mark.parametrize(
    "lines",
    [
        "%2 = put f32[4,3] (%1, %0, %1) dim=0 mode=\"set\"",
        "%2 = put f32[4,3] (%1, %0, %1) dim=0 mode=\"add\"",
    ],
)  # fmt: skip
def test_writing_out_of_range_is_refused(lines):
    text = TAKE.replace("%2 = take f32[<1*batch+0>,3] (%1, %0) dim=0", lines)
    outputs = (("y", dt.float32, (4, 3)),)
    np.testing.assert_array_equal(run(text, [0, 1, 2, 3], outputs=outputs).shape, (4, 3))
    with pytest.raises(IndexRangeError, match="9999999"):
        run(text, [0, 1, 2, 9999999], outputs=outputs)


@pytest.mark.parametrize("op", ["take_along", "put_along"])
def test_along_a_dim(op):
    rest = 'dim=0 mode="set"' if op == "put_along" else "dim=0"
    third = ", %2" if op == "put_along" else ""
    text = f"""graph {{
  %0 = leaf i64[<1*batch+0>]
  %1 = leaf f32[4,3]
  %2 = reshape f32[12] (%1) shape=[12]
  %3 = {op} f32[12] (%2, %0{third}) {rest}
  return %3
}}
"""
    outputs = (("y", dt.float32, (12,)),)
    assert run(text, np.arange(12), outputs=outputs).shape == (12,)
    with pytest.raises(IndexRangeError, match="12"):
        run(text, np.arange(12) + 1, outputs=outputs)


def guards(text):
    graph = parse(text)
    return len(guarded(graph).nodes) - len(graph.nodes)


def test_indices_seen_to_be_in_range_are_left_alone():
    head = "graph {\n  %0 = leaf i64[2]\n  %1 = leaf f32[4,3]\n"
    tail = "  %4 = take f32[2,3] (%1, %3) dim=0\n  return %4\n}\n"
    for make in (
        '  %2 = wrap_index i64[2] (%0) size=4 what="index"\n  %3 = barrier i64[2] (%2)\n',
        '  %2 = wrap_index i64[2] (%0) size=3 what="row"\n  %3 = reshape i64[2] (%2) shape=[2]\n',
        "  %2 = iota i64[3] length=3 dtype=i64\n"
        "  %3 = slice i64[2] (%2) starts=[1] sizes=[2] steps=[1]\n",
        "  %2 = const i64[] value=3 dtype=i64\n  %3 = expand i64[2] (%2) shape=[2]\n",
        "  %2 = argsort i64[2] (%0) dim=0 descending=false\n  %3 = barrier i64[2] (%2)\n",
    ):
        assert guards(head + make + tail) == 0, make
    for make in (
        '  %2 = wrap_index i64[2] (%0) size=5 what="index"\n  %3 = barrier i64[2] (%2)\n',
        "  %2 = iota i64[5] length=5 dtype=i64\n"
        "  %3 = slice i64[2] (%2) starts=[1] sizes=[2] steps=[1]\n",
        "  %2 = const i64[] value=4 dtype=i64\n  %3 = expand i64[2] (%2) shape=[2]\n",
        "  %2 = const i64[] value=-1 dtype=i64\n  %3 = expand i64[2] (%2) shape=[2]\n",
        "  %2 = add i64[2] (%0, %0)\n  %3 = barrier i64[2] (%2)\n",
    ):
        assert guards(head + make + tail) == 1, make


def test_what_users_write_needs_no_guard(tmp_path):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(5, 3)

        def forward(self, x):
            y = self.embed(x)
            order = y.sum(-1).argsort(dim=-1)
            return y[:, 0], y.gather(1, order[:, :, None].expand(-1, -1, 3)), y[:, [0, 1]]

    path = tmp_path / "m.tnr"
    save(Model(), path, example_inputs=tn.zeros(2, 4, dtype=tn.int64))
    graph = parse(load(path).program("predict").replace("<1*batch+0>", "2"))
    assert any(node.op is ops.TAKE for node in graph.nodes)
    assert guarded(graph) is graph


def test_nothing_can_be_taken_of_nothing():
    text = """graph {
  %0 = leaf i64[<1*batch+0>]
  %1 = leaf f32[0,3]
  %2 = take f32[<1*batch+0>,3] (%1, %0) dim=0
  return %2
}
"""
    with pytest.raises(ShapeError, match="size 0"):
        run(text, [0], weights={"w": W[:0]})


HUGE = {
    "one value": "  %2 = const f32[] value=1.0 dtype=f32\n"
    "  %3 = expand f32[1000000,1000000] (%2) shape=[1000000,1000000]\n"
    "  %4 = cumsum f32[1000000,1000000] (%3) dim=0 reverse=false\n"
    "  %5 = slice f32[1,3] (%4) starts=[0,0] sizes=[1,3] steps=[1,1]\n"
    "  %6 = expand f32[<1*batch+0>,3] (%5) shape=[<1*batch+0>,3]\n  return %6\n",
    "no value at all": "  %2 = const f32[] value=1.0 dtype=f32\n"
    "  %3 = expand f32[1048576,1048576] (%2) shape=[1048576,1048576]\n"
    "  %4 = sum f32[1,1] (%3) dims=[0,1]\n"
    "  %5 = expand f32[<1*batch+0>,3] (%4) shape=[<1*batch+0>,3]\n  return %5\n",
}


@pytest.mark.parametrize("body", HUGE.values(), ids=HUGE)
def test_huge_values_are_refused_before_memory_is_taken(body):
    text = TAKE[: TAKE.index("  %2")] + body + "}\n"
    tracemalloc.start()
    try:
        with pytest.raises(ShapeError, match="bytes of values, kept or not"):
            run(text, [0])
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_huge_outputs_are_refused_before_memory_is_taken():
    body = "  %2 = const f32[] value=1.0 dtype=f32\n" + "".join(
        f"  %{i} = expand f32[300000000] (%2) shape=[300000000]\n" for i in range(3, 13)
    )
    returned = ", ".join(f"%{i}" for i in range(3, 13))
    text = f"{TAKE[: TAKE.index('  %2')]}{body}  return {returned}\n}}\n"
    outputs = tuple((f"y{i}", dt.float32, (300000000,)) for i in range(10))
    with pytest.raises(ShapeError, match=r"12,000,000,\d+ bytes"):
        run(text, [0], outputs=outputs)


def test_huge_batches_are_refused_before_memory_is_taken():
    made = program(TAKE, max_bytes=1000)
    made.ready({"batch": 80})
    with pytest.raises(ShapeError, match="fewer rows"):
        made.ready({"batch": 84})
    with pytest.raises(FormatError):
        made.graph({"batch": 1 << 60})


def test_values_that_are_never_in_memory_do_not_count_as_memory():
    lines = [f"  %{i} = abs f32[<1*batch+0>,3] (%{i - 1})\n" for i in range(3, 23)]
    text = TAKE.replace("  return %2", f"{''.join(lines)}  return %22")
    made = program(text, max_bytes=1000)
    x = np.array([0, 3, 1] * 20)
    np.testing.assert_array_equal(made.run({"x": x}, {"batch": 60})["y"], W[x])


CONV = """graph {{
  %0 = leaf f32[<1*batch+0>,1,4]
  %1 = const f32[] value=1.0 dtype=f32
  %2 = expand f32[4,1,1] (%1) shape=[4,1,1]
  %3 = conv f32[<1*batch+0>,4,{out}] (%0, %2) stride=[{far}] padding=[[{far},{far}]] \
dilation=[1] groups=1
  return %3
}}
"""


def convolution(far, out, **limits):
    x, y = ("x", dt.float32, ("batch", 1, 4)), ("y", dt.float32, ("batch", 4, out))
    text = CONV.format(far=far, out=out)
    made = program(text, inputs=(x,), outputs=(y,), weights={}, **limits)
    return made.run({"x": np.ones((2, 1, 4), np.float32)}, {"batch": 2})["y"]


def test_workspace_a_program_asks_for_counts_as_memory():
    """The values are 128 bytes; what a kernel packs between them is more."""
    assert convolution(4, 3).tolist() == [[[0.0, 1.0, 0.0]] * 4] * 2
    with pytest.raises(ShapeError, match=r"at most 400 bytes"):
        convolution(4, 3, max_bytes=400)


def test_padding_beyond_what_is_counted_in_32_bits_is_refused():
    with pytest.raises((FormatError, ShapeError), match="padded extent must stay below"):
        convolution(2**40, 3)


def test_memory_there_is_not_is_an_error_of_ours(monkeypatch):
    made = program(TAKE)
    runner = made.ready({"batch": 2}).runner

    def fails(*_):
        raise MemoryError

    monkeypatch.setattr(runner, "run", fails)
    with pytest.raises(ShapeError, match="fewer rows"):
        made.run({"x": np.array([0, 1])}, {"batch": 2})


# -- programs that do not fit -----------------------------------------------------------------
MISFITS = {
    "empty": ("", "expected graph"),
    "not a program": ("import os", "expected"),
    "other input dtype": (TAKE.replace("i64[<1*batch+0>]", "i32[<1*batch+0>]"), "."),
    "other input shape": (TAKE.replace("%0 = leaf i64[<1*batch", "%0 = leaf i64[<2*batch"), "."),
    "other weight": (TAKE.replace("f32[4,3]", "f32[5,3]"), "weight"),
    "weight missing": (
        "graph {\n  %0 = leaf i64[<1*batch+0>]\n  %1 = cast f32[<1*batch+0>] (%0) dtype=f32\n"
        "  return %1\n}\n", "."),
    "one leaf more": (TAKE.replace("  %2 = take", "  %2 = leaf f32[1]\n  %3 = take").replace(
        "return %2", "return %3"), "weights"),
    "other output": (TAKE.replace("return %2", "return %1"), "output"),
    "two outputs": (TAKE.replace("return %2", "return %2, %2"), "2 outputs"),
    "no output": (TAKE.replace("return %2", "return"), "0 outputs"),
    "writes a weight": (TAKE.replace("return %2", "return %2\n  update %1 0"), "."),
    "a run-time number": (TAKE.replace("  return", "  %3 = scalar f32[]\n  return"), "scalar"),
    "random numbers": (TAKE.replace(
        "  return", "  %3 = const i64[] value=1 dtype=i64\n"
        "  %4 = random_bits u32[4] (%3, %3) shape=[4]\n  return"), "random_bits"),
    "unknown size": (TAKE.replace("<1*batch+0>", "<1*seq+0>"), "open size"),
    "many lines": ("\n" * 200_000, "lines"),
    "many references": (TAKE.replace("return", "return " + "%2, " * 400_000), "references"),
    "broken hole": (TAKE.replace("<1*batch+0>", "<1*batch>"), "."),
    "negative size": (TAKE.replace("<1*batch+0>", "<-1*batch+0>"), "."),
    "huge hole": (TAKE.replace("<1*batch+0>", "<999999999999999999*batch+0>"), "."),
}  # fmt: skip


@pytest.mark.parametrize(("text", "match"), MISFITS.values(), ids=MISFITS)
def test_programs_that_do_not_fit(text, match):
    with pytest.raises(FormatError, match=match):
        program(text).graph({"batch": 2})
    with pytest.raises((FormatError, ShapeError)):
        run(text, [0, 1])


# -- bundles that do not fit ------------------------------------------------------------------
def packed(path, *, text=TAKE, weights=None, examples=None, state=("w",), drop=()):
    signature = Signature(
        "predict", (TensorSpec("x", dt.int64, ("batch",)),),
        (TensorSpec("y", dt.float32, ("batch", 3)),), ("w",),
    )  # fmt: skip
    members = {
        "programs/predict.tir": [text.encode()],
        "weights.safetensors": safetensors.layout({"w": W} if weights is None else weights),
        "examples.json": [json.dumps({} if examples is None else examples).encode()],
    }
    for name in drop:
        del members[name]
    bundle.write(path, Manifest("m", signatures={"predict": signature}, state=state), members)
    return path


def written(array, **changes):
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"shape": list(array.shape), "base64": data} | changes


def example(**changes):
    x, y = np.array([1, 2]), W[[1, 2]]
    return {"predict": {"inputs": {"x": written(x)}, "outputs": {"y": written(y, **changes)}}}


def test_what_these_are_made_from_is_accepted(tmp_path):
    found = load(packed(tmp_path / "m.tnr", examples=example()))
    assert found.verify().examples == 1
    assert found([3]).tolist() == [[9, 10, 11]]
    assert load(packed(tmp_path / "n.tnr", drop=["examples.json"])).verify().examples == 0


BAD = {
    "no program": {"drop": ["programs/predict.tir"]},
    "no weights": {"drop": ["weights.safetensors"]},
    "other weights": {"weights": {"v": W}},
    "more weights": {"weights": {"w": W, "v": W}},
    "state without weights": {"state": ("v", "w")},
    "weights of another shape": {"weights": {"w": W.T}, "examples": example()},
    "weights of another dtype": {"weights": {"w": W.astype(np.int32)}, "examples": example()},
    "examples are a list": {"examples": []},
    "example of another signature": {"examples": {"other": example()["predict"]}},
    "example of another form": {"examples": {"predict": []}},
    "example of other names": {"examples": {"predict": {"inputs": {}, "outputs": {}}}},
    "example of another shape": {"examples": example(shape=[3, 2])},
    "example of another batch": {"examples": example(shape=[3, 3])},
    "example cut short": {"examples": example(base64="AAAA")},
    "example is not base64": {"examples": example(base64="~" * 32)},
    "example with extra": {"examples": example(dtype="f32")},
    "example of a huge shape": {"examples": example(shape=[1 << 50, 3])},
    "example of a float shape": {"examples": example(shape=[2.0, 3])},
    "program is not text": {"text": "\udcff"},
    "program of no kind": {"text": "hello", "examples": example()},
    "program of no kind, without examples": {"text": "hello"},
    "program of another signature, without examples": {"text": TAKE.replace("i64", "i32")},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_bundles_that_do_not_fit(tmp_path, change):
    path = tmp_path / "m.tnr"
    if change.get("text") == "\udcff":
        broken = [b"\xff"]
        signature = Signature("predict", (), (), ())
        manifest = Manifest("m", signatures={"predict": signature})
        weights = safetensors.layout({})
        bundle.write(
            path, manifest, {"programs/predict.tir": broken, "weights.safetensors": weights}
        )
    else:
        packed(path, **change)
    with pytest.raises(FormatError):
        load(path)


def test_a_program_that_belongs_to_no_signature(tmp_path):
    path = tmp_path / "m.tnr"
    weights = safetensors.layout({})
    members = {"programs/predict.tir": [b""], "weights.safetensors": weights}
    bundle.write(path, Manifest("m"), members)
    with pytest.raises(FormatError, match="one a signature"):
        load(path)


def test_a_program_without_examples_need_not_fit_a_batch_of_one(tmp_path):
    text = TAKE.replace("%0) dim=0", "%2) dim=0").replace("%2 = take", "%3 = take")
    cut = "  %2 = slice i64[<1*batch-2>] (%0) starts=[2] sizes=[<1*batch-2>] steps=[1]\n"
    text = text.replace("  %3 = take f32[<1*batch+0>", cut + "  %3 = take f32[<1*batch-2>")
    text = text.replace("return %2", "return %3")
    signature = Signature(
        "predict", (TensorSpec("x", dt.int64, ("batch",)),),
        (TensorSpec("y", dt.float32, ("n0", 3)),), ("w",),
    )  # fmt: skip
    members = {
        "programs/predict.tir": [text.encode()],
        "weights.safetensors": safetensors.layout({"w": W}),
    }
    path = tmp_path / "m.tnr"
    bundle.write(path, Manifest("m", signatures={"predict": signature}, state=("w",)), members)
    assert load(path)([0, 1, 2, 3]).tolist() == W[[2, 3]].tolist()


# -- what is no file --------------------------------------------------------------------------
@pytest.mark.parametrize("read", [load, load_model, load_file])
def test_what_is_no_file_is_refused_at_once(tmp_path, read):
    pipe = tmp_path / "pipe.tnr"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/zero"):
        with pytest.raises(FormatError, match="a pipe, a socket or a device"):
            read(path)
    empty = tmp_path / "empty.tnr"
    empty.write_bytes(b"")
    with pytest.raises(FormatError):
        read(empty)
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        read(tmp_path)


# -- damage to a program ----------------------------------------------------------------------
def test_damaged_programs_are_refused_or_run(tmp_path):
    """Whatever becomes of the text, the answer is one of Tenor's errors or an array."""
    rng = random.Random(0)
    x = np.array([1, 2])
    ran = refused = 0
    for _ in range(300):
        text = list(TAKE)
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(len(text))
            text[at] = rng.choice("0123456789,[]%<>*+-= batchf32i64u8leaftkposr\n")
        try:
            made = program("".join(text), max_bytes=1 << 20).run({"x": x}, {"batch": 2})
        except TenorError:
            refused += 1
        else:
            assert made["y"].shape == (2, 3)
            ran += 1
    assert refused > 200
    assert ran > 0


def test_text_round_trip_of_the_guarded_program():
    graph = guarded(parse(TAKE.replace("<1*batch+0>", "2")))
    assert to_text(parse(to_text(graph))) == to_text(graph)
