"""Whole models: what is written answers as the saved model does, at any batch; or is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.errors import ArgumentError, ExportError, SaveError
from tenor.export.onnx import check, export_onnx, exporting, file
from tenor.export.onnx.check import session
from tests.export import zoo

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

F = nn.functional


class Applied(nn.Module):
    """A module that is a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def answers(path, inputs):
    """Return what ONNX Runtime makes of a file."""
    ready = session(Path(path))
    names = [given.name for given in ready.get_inputs()]
    outputs = [made.name for made in ready.get_outputs()]
    return dict(zip(outputs, ready.run(None, dict(zip(names, inputs, strict=True))), strict=True))


def relative(got, want):
    """Return the largest difference by the largest magnitude."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    return np.abs(got.astype(np.float64) - want).max() / max(1e-30, np.abs(want).max())


# -- the zoo ----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", zoo.ZOO)
def test_a_model_answers_as_it_did_at_any_batch(name, tmp_path):
    path, _ = zoo.bundle(name, tmp_path / "m.tnr")
    made = export_onnx(path, tmp_path / "m.onnx")
    assert made.batch == "batch"
    assert made.checked == "onnxruntime"
    assert made.rows > 0
    assert made.difference <= 1e-4
    example = tn.load(path).examples["predict"]
    for rows in (1, 2, 5, 8):
        got = answers(made.path, [x[:rows] for x in example.inputs.values()])
        assert list(got) == list(example.outputs)
        for output, want in example.outputs.items():
            assert relative(got[output], want[:rows]) <= 1e-4, (rows, output)


@pytest.mark.parametrize("opset", [17, 21])
def test_other_opsets(opset, tmp_path):
    for name in ("digits", "transformer", "tabular"):
        path, _ = zoo.bundle(name, tmp_path / "m.tnr")
        made = export_onnx(path, tmp_path / "m.onnx", opset=opset)
        model = onnx.load(made.path)
        assert (made.opset, model.opset_import[0].version) == (opset, opset)
        assert made.difference <= 1e-4
        assert made.nodes == len(model.graph.node)


def test_what_a_file_says(tmp_path):
    path, _ = zoo.bundle("tabular", tmp_path / "m.tnr")
    made = export_onnx(path, tmp_path / "m.onnx")
    graph = onnx.load(made.path).graph
    assert graph.name == "tabular"
    saved = tn.load(path).signature()
    assert [x.name for x in graph.input] == [s.name for s in saved.inputs]
    assert {x.name for x in graph.output} == {"probabilities", "label"}
    shape = graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == ["batch", 5]
    assert "embed.0.weight" in {x.name for x in graph.initializer}
    assert len(graph.value_info) > 5


def test_a_module_with_example_inputs(tmp_path):
    model = nn.Linear(4, 2)
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    made = export_onnx(model, tmp_path / "m.onnx", example_inputs=x)
    assert made.nodes == 1
    want = model(tn.tensor(x)).detach().numpy()
    assert relative(next(iter(answers(made.path, [x]).values())), want) < 1e-6


# -- the batch --------------------------------------------------------------------------------
OPEN = {
    "backwards": lambda x: x.flip(0),
    "without the first": lambda x: x[1:] * 2,
    "running": lambda x: x.cumsum(0),
    "one row": lambda x: x.reshape(-1),
    "pairs": lambda x: (x[:, None] - x[None]).abs().sum(-1),
    "numbered": lambda x: x + tn.arange(x.shape[0])[:, None],
    "sorted": lambda x: x.sort(0).values,
    "twice": lambda x: tn.cat([x, x], 0).reshape(2, -1, 6)[1],
    "padded": lambda x: F.pad(x, (1, 2, 1, 0)),
    "transposed": lambda x: x.T @ x,
    "itself": lambda x: x,
    "zeros": lambda x: tn.zeros(x.shape[0], 3),
    "as many of the largest": lambda x: tn.cat([x, x]).topk(x.shape[0], 0).values,
    "largest": lambda x: x.argmax(0),
}
FIXED = {
    "mean of rows": lambda x: x - x.mean(0),
    "padded by as many": lambda x: F.pad(x, (x.shape[0], 0)),
    "windows of rows": lambda x: x.unfold(0, 2, 1).sum(-1),
}


@pytest.mark.parametrize("name", OPEN)
def test_a_program_that_any_batch_fits(name, tmp_path):
    model, x = Applied(OPEN[name]), zoo.images(8, 6) - 0.5
    made = export_onnx(model, tmp_path / "m.onnx", example_inputs=x)
    assert made.batch == "batch"
    for rows in (2, 3, 7):
        want = model(tn.tensor(x[:rows])).numpy()
        assert relative(next(iter(answers(made.path, [x[:rows]]).values())), want) < 1e-6


@pytest.mark.parametrize("name", FIXED)
def test_a_program_that_depends_on_its_batch_gets_one(name, tmp_path):
    model, x = Applied(FIXED[name]), zoo.images(8, 6)
    made = export_onnx(model, tmp_path / "m.onnx", example_inputs=x, batch=4)
    assert (made.batch, made.checked, made.rows) == (4, "onnxruntime", 8)
    want = model(tn.tensor(x[4:])).numpy()
    assert relative(next(iter(answers(made.path, [x[4:]]).values())), want) < 1e-6


@pytest.mark.parametrize("masked", [False, True])
def test_attention(masked, tmp_path):
    def attend(x):
        mask = tn.ones(20, 20).tril() > 0
        mask[3] = False  # nothing to look at
        given = {"attn_mask": mask} if masked else {"is_causal": True}
        return F.scaled_dot_product_attention(x, x * 2, x + 1, **given)

    model, x = Applied(attend), zoo.images(4, 2, 20, 6)
    made = export_onnx(model, tmp_path / "m.onnx", example_inputs=x)
    kinds = {node.op_type for node in onnx.load(made.path).graph.node}
    assert made.batch == "batch"
    assert {"MatMul", "Softmax"} <= kinds
    want = model(tn.tensor(x)).numpy()
    assert relative(next(iter(answers(made.path, [x]).values())), want) < 1e-6


# -- dtypes -----------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [tn.float16, tn.bfloat16, tn.float64])
def test_other_floats(dtype, tmp_path):
    class Cast(nn.Sequential):
        def forward(self, x):
            return super().forward(x.to(dtype)).float()

    tn.manual_seed(0)
    model = Cast(nn.Linear(6, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3), nn.Softmax(-1))
    model = model.to(dtype)
    x = zoo.images(5, 6)
    made = export_onnx(model, tmp_path / "m.onnx", example_inputs=x)
    want = model(tn.tensor(x)).detach().numpy()
    room = {tn.float16: 4e-3, tn.bfloat16: 3e-2, tn.float64: 1e-6}[dtype]
    assert relative(next(iter(answers(made.path, [x]).values())), want) < room


# -- what is refused --------------------------------------------------------------------------
def test_an_operation_onnx_has_not_is_named_and_nothing_is_written(tmp_path):
    class Gradient(nn.Module):
        def forward(self, q):
            with tn.enable_grad():
                q = q.detach().requires_grad_()
                made = F.scaled_dot_product_attention(q, q, q, is_causal=True)
                return tn.autograd.grad(made.sum(), q)[0]

    target = tmp_path / "m.onnx"
    target.write_bytes(b"old")
    with pytest.raises(ExportError) as caught:
        export_onnx(Gradient(), target, example_inputs=zoo.images(2, 1, 20, 3))
    text = str(caught.value)
    assert "attention_gradient of float32" in text
    assert "in 'predict'" in text
    assert "fix: export a signature that predicts" in text
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_double_convolutions_are_refused(tmp_path):
    model = nn.Conv2d(1, 2, 3).double()
    x = zoo.images(2, 1, 5, 5).astype(np.float64)
    with pytest.raises(ExportError, match=r"no Conv of float64.*\n(.*\n)*.*model with \.float\(\)"):
        export_onnx(model, tmp_path / "m.onnx", example_inputs=x)
    assert not list(tmp_path.iterdir())


def test_arguments_out_of_their_domain(tmp_path):
    path, _ = zoo.bundle("mlp", tmp_path / "m.tnr")
    for wrong in ({"opset": 16}, {"opset": 22}, {"batch": 0}, {"signature": "other"}):
        with pytest.raises(ArgumentError):
            export_onnx(path, tmp_path / "m.onnx", **wrong)
    with pytest.raises(ArgumentError, match="directory"):
        export_onnx(path, tmp_path / "none" / "m.onnx")
    with pytest.raises(ArgumentError, match="example_inputs"):
        export_onnx(nn.Linear(2, 2), tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_what_does_not_agree_is_not_written(tmp_path, monkeypatch):
    path, _ = zoo.bundle("digits", tmp_path / "m.tnr")
    real = file.packed

    def spoilt(written, name, **more):
        for name, value in written.writer.constants.items():
            if value.dtype == np.float32:
                written.writer.constants[name] = value + np.float32(0.1)
        return real(written, name, **more)

    monkeypatch.setattr(exporting.file, "packed", spoilt)
    with pytest.raises(ExportError, match="must agree"):
        export_onnx(path, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_what_the_checker_complains_of_is_not_written(tmp_path, monkeypatch):
    path, _ = zoo.bundle("digits", tmp_path / "m.tnr")
    real = file.packed

    def spoilt(written, name, **more):
        made = real(written, name, **more)
        made.proto.graph.node[0].op_type = "Convolution"
        return made

    monkeypatch.setattr(exporting.file, "packed", spoilt)
    with pytest.raises(ExportError, match=r"onnx\.checker must take 'digits'"):
        export_onnx(path, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_without_a_runtime_the_checker_says_what_was_done(tmp_path, monkeypatch):
    path, _ = zoo.bundle("digits", tmp_path / "m.tnr")
    monkeypatch.setattr(check, "available", lambda: False)
    made = export_onnx(path, tmp_path / "m.onnx")
    assert (made.difference, made.rows, made.checked) == (None, 0, "onnx.checker")


def test_without_the_package_its_name_is_said(tmp_path, monkeypatch):
    path, _ = zoo.bundle("digits", tmp_path / "m.tnr")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match=r"pip install .tenor\[onnx\]"):
        export_onnx(path, tmp_path / "m.onnx")


def test_bfloat16_at_the_door_is_looked_at_only(tmp_path):
    model = nn.Linear(3, 2).to(tn.bfloat16)
    x = tn.ones(4, 3, dtype=tn.bfloat16)
    made = export_onnx(model, tmp_path / "m.onnx", example_inputs=x)
    assert (made.checked, made.rows) == ("onnx.checker", 0)


@pytest.mark.parametrize("name", ["digits", "tabular", "transformer", "residual"])
def test_onnx_own_evaluator_agrees(name, tmp_path):
    from onnx.reference import ReferenceEvaluator

    path, _ = zoo.bundle(name, tmp_path / "m.tnr")
    made = export_onnx(path, tmp_path / "m.onnx")
    example = tn.load(path).examples["predict"]
    few = {n: x[:2] for n, x in example.inputs.items()}
    got = ReferenceEvaluator(onnx.load(made.path)).run(list(example.outputs), few)
    for a, b in zip(got, example.outputs.values(), strict=True):
        assert relative(a, b[:2]) < 1e-4


# -- large models -----------------------------------------------------------------------------
def refuse(*_):
    raise OSError(28, "No space left on device")


def test_large_weights_go_beside_the_model(tmp_path, monkeypatch):
    path, inputs = zoo.bundle("mlp", tmp_path / "m.tnr")
    small = export_onnx(path, tmp_path / "small.onnx")
    monkeypatch.setattr(file, "LARGEST", 1_000_000)
    made = export_onnx(path, tmp_path / "m.onnx")
    assert made.difference <= 1e-4
    (beside,) = tmp_path.glob("m.onnx.*.data")
    assert made.path.stat().st_size < 20_000 < 5_000_000 < beside.stat().st_size
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["m.tnr", "small.onnx", "m.onnx", beside.name]
    )
    for a, b in zip(answers(made.path, inputs).values(), answers(small.path, inputs).values(),
                    strict=True):  # fmt: skip
        np.testing.assert_array_equal(a, b)
    old = made.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(SaveError, match="writable"):
            export_onnx(path, tmp_path / "m.onnx")
    assert made.path.read_bytes() == old
    loaded = onnx.load(made.path)
    assert {t.data_location for t in loaded.graph.initializer} == {onnx.TensorProto.DEFAULT}


def test_nothing_is_imported_before_it_is_needed():
    code = (
        "import sys, tenor.export.onnx; print(sorted({'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
