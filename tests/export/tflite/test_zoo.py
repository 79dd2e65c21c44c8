"""Every model of the zoo in LiteRT: float within 1e-4, eight bits within what rounding explains."""

from functools import cache

import numpy as np
import pytest

import tenor as tn
from tenor.errors import ArgumentError
from tenor.export.fold import folded
from tenor.export.quantize.record import Quantization
from tenor.export.source import opened, source_of
from tenor.export.tflite import export_tflite
from tenor.export.tflite.check import Runner
from tests.export import zoo
from tests.export.tflite import rounding

pytest.importorskip("ai_edge_litert")
pytest.importorskip("flatbuffers")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Return a function from a model's name to its bundle, each saved once."""
    folder = tmp_path_factory.mktemp("zoo")
    return cache(lambda name: zoo.bundle(name, folder / f"{name}.tnr")[0])


@pytest.fixture(scope="module")
def record(bundle):
    """Return a function from a model's name to its quantization."""
    return cache(lambda name: rounding.minmax(bundle(name)))


def answers(path, source, rows):
    """Return what LiteRT answers to rows, one after another."""
    run = Runner(path.read_bytes(), source)
    made = [
        run({name: rows[name][i : i + 1] for name in source.inputs})
        for i in range(len(next(iter(rows.values()))))
    ]
    return {name: np.concatenate([m[name] for m in made]) for name in source.outputs}


def difference(got, wanted):
    """Return the largest difference as a part of the largest magnitude."""
    return max(
        float(np.abs(got[k] - wanted[k]).max() / np.abs(wanted[k]).max())
        for k in wanted
        if wanted[k].dtype.kind == "f"
    )


@pytest.mark.parametrize("name", zoo.ZOO)
def test_float(name, tmp_path, bundle):
    path = bundle(name)
    made = export_tflite(path, tmp_path / "m.tflite")
    assert made.rows >= 8
    assert made.difference < 1e-5
    assert made.bytes == (tmp_path / "m.tflite").stat().st_size
    source = source_of(opened(path))
    got = answers(tmp_path / "m.tflite", source, source.rows)
    for key, wanted in source.answers.items():
        scale = np.abs(wanted).max() if wanted.dtype.kind == "f" else 0
        np.testing.assert_allclose(got[key], wanted, rtol=0, atol=1e-4 * scale, err_msg=key)


@pytest.mark.parametrize("name", ["digits", "keywords", "mobilenet", "mlp", "residual", "unet"])
def test_eight_bits(name, tmp_path, bundle, record):
    path = bundle(name)
    quantization = record(name)
    source = quantization.source
    made = export_tflite(path, tmp_path / "m.tflite", quantization=quantization)
    rows = {key: value[:4] for key, value in source.rows.items()}
    wanted = {key: value[:4] for key, value in source.answers.items()}
    got = answers(tmp_path / "m.tflite", source, rows)
    ours = difference(got, wanted)
    expected = difference(rounding.simulated(quantization, rows), wanted)
    assert ours <= 1.5 * expected + rounding.step(quantization)
    assert made.difference < 0.03
    float_bytes = export_tflite(path, tmp_path / "f.tflite").bytes
    if name in ("keywords", "mobilenet", "mlp"):
        assert made.bytes < 0.5 * float_bytes


@pytest.mark.parametrize("name", ["recurrent", "transformer", "tabular", "sound"])
def test_eight_bits_where_some_operators_stay_real(name, tmp_path, bundle, record):
    path = bundle(name)
    quantization = record(name)
    made = export_tflite(path, tmp_path / "m.tflite", quantization=quantization)
    source = quantization.source
    expected = difference(rounding.simulated(quantization, source.rows), source.answers)
    got = answers(tmp_path / "m.tflite", source, source.rows)
    assert difference(got, source.answers) <= 1.5 * expected + rounding.step(quantization)
    assert made.rows == 8


def test_edges_in_eight_bits(tmp_path, bundle, record):
    path = bundle("digits")
    quantization = record("digits")
    real = export_tflite(path, tmp_path / "a.tflite", quantization=quantization)
    small = export_tflite(path, tmp_path / "b.tflite", quantization=quantization, edges="int8")
    assert {"QUANTIZE", "DEQUANTIZE"} <= set(real.operators)
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(small.operators)
    source = quantization.source
    a, b = (answers(tmp_path / f, source, source.rows) for f in ("a.tflite", "b.tflite"))
    np.testing.assert_array_equal(a["output"], b["output"])


def test_softmax_has_the_prescribed_scheme(tmp_path, bundle, record):
    from ai_edge_litert.interpreter import Interpreter

    path = bundle("digits")
    out = tmp_path / "m.tflite"
    export_tflite(path, out, quantization=record("digits"), edges="int8")
    engine = Interpreter(str(out))
    engine.allocate_tensors()
    assert engine.get_output_details()[0]["quantization"] == (1 / 256, -128)


@pytest.mark.parametrize("name", ["mlp", "keywords", "recurrent"])
def test_weights_alone_in_eight_bits(name, tmp_path, bundle):
    path = bundle(name)
    small = export_tflite(path, tmp_path / "a.tflite", weights="int8")
    large = export_tflite(path, tmp_path / "b.tflite")
    assert small.difference < 0.02
    assert small.bytes < large.bytes


@pytest.mark.parametrize("name", ["digits", "unet", "mlp", "sound"])
def test_weights_as_halves(name, tmp_path, bundle):
    small = export_tflite(bundle(name), tmp_path / "a.tflite", weights="float16")
    large = export_tflite(bundle(name), tmp_path / "b.tflite")
    assert 0 < small.difference < 2e-3
    if name in ("mlp", "digits"):
        assert small.bytes < 0.62 * large.bytes
    assert small.operators["DEQUANTIZE"] >= 2


def test_a_record_of_weights_alone(tmp_path, bundle, record):
    path = bundle("mlp")
    whole = record("mlp")
    leaves = set(whole.source.leaves.values())
    schemes = {node: scheme for node, scheme in whole.schemes.items() if node in leaves}
    alone = Quantization(whole.source, schemes, "weights")
    made = export_tflite(path, tmp_path / "a.tflite", quantization=alone)
    same = export_tflite(path, tmp_path / "b.tflite", weights="int8")
    assert made.operators == same.operators
    assert (made.bytes, made.difference) == (same.bytes, same.difference)


def test_a_record_of_other_operations_is_refused(tmp_path, bundle, record):
    with pytest.raises(ArgumentError, match="for 'residual'"):
        export_tflite(bundle("residual"), tmp_path / "a.tflite", quantization=record("digits"))
    assert not (tmp_path / "a.tflite").exists()


@pytest.mark.parametrize("name", ["residual", "unet"])
def test_images_with_channels_last(name, tmp_path, bundle):
    from ai_edge_litert.interpreter import Interpreter

    path = bundle(name)
    out = tmp_path / "m.tflite"
    made = export_tflite(path, out, channels_last=True)
    assert made.difference < 1e-5
    engine = Interpreter(str(out))
    n, c, h, w = folded(source_of(opened(path))).inputs["x"].shape
    assert tuple(engine.get_input_details()[0]["shape"]) == (n, h, w, c)


def test_an_image_as_wide_as_it_has_channels(tmp_path):
    tn.manual_seed(0)
    rows = zoo.images(3, 4, 4, 4)
    model = tn.nn.Sequential(tn.nn.Conv2d(4, 2, 3), tn.nn.Flatten(), tn.nn.Linear(8, 2))
    for last in (False, True):
        made = export_tflite(model, tmp_path / "m.tflite", example_inputs=rows, channels_last=last)
        assert made.rows == 3
        assert ("TRANSPOSE" in made.operators) is not last


@pytest.mark.parametrize("name", ["mobilenet", "keywords", "mlp"])
@pytest.mark.parametrize("eight", [False, True])
def test_the_default_delegate_takes_the_whole_model(name, eight, tmp_path, bundle, record):
    from ai_edge_litert.interpreter import Interpreter

    path = bundle(name)
    chosen = record(name) if eight else None
    export_tflite(path, tmp_path / "m.tflite", quantization=chosen)
    engine = Interpreter(str(tmp_path / "m.tflite"))
    engine.allocate_tensors()
    found = [op for op in engine._get_ops_details() if op["op_name"] == "DELEGATE"]
    assert len(found) == 1
    ends = {detail["index"] for detail in engine.get_output_details()}
    assert set(found[0]["outputs"]) == ends
    assert engine.get_input_details()[0]["index"] in found[0]["inputs"]


@pytest.mark.parametrize("name", zoo.ZOO)
def test_without_the_delegate(name, tmp_path, bundle, record):
    """LiteRT's own kernels take the same files: accelerators and small devices have such."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    source = record(name).source
    for quantization, room in ((None, 1e-5), (record(name), 0.08)):
        export_tflite(bundle(name), tmp_path / "m.tflite", quantization=quantization)
        engine = Interpreter(
            str(tmp_path / "m.tflite"),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        engine.allocate_tensors()
        assert not [op for op in engine._get_ops_details() if op["op_name"] == "DELEGATE"]
        for detail, key in zip(engine.get_input_details(), source.inputs, strict=True):
            engine.set_tensor(detail["index"], source.rows[key][:1])
        engine.invoke()
        found = zip(engine.get_output_details(), source.outputs, strict=True)
        got = {key: engine.get_tensor(detail["index"]) for detail, key in found}
        assert difference(got, {key: a[:1] for key, a in source.answers.items()}) < room


class Together(tn.nn.Module):
    """Rows that know of each other, and a state whose rows stand second."""

    def __init__(self):
        super().__init__()
        self.cell = tn.nn.GRU(3, 4, batch_first=True)

    def forward(self, x):
        y, state = self.cell(x)
        flat = x.reshape(-1, 15)
        return {"y": y, "state": state, "mean": x.mean(0), "pairs": flat @ flat.transpose(0, 1)}


def test_rows_that_know_of_each_other(tmp_path):
    rows = zoo.images(4, 5, 3)
    for batch in (1, 2, 3):
        tn.manual_seed(0)
        made = export_tflite(Together(), tmp_path / "m.tflite", example_inputs=rows, batch=batch)
        assert made.rows == 4
        assert made.difference < 1e-5


def test_a_batch_of_another_size(tmp_path, bundle, record):
    path = bundle("digits")
    quantization = record("digits")
    for given in (None, quantization):
        made = export_tflite(path, tmp_path / "m.tflite", batch=3, quantization=given)
        assert made.rows == 8
        assert made.difference < (1e-5 if given is None else 0.03)
