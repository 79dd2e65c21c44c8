"""Models saved and loaded: the same bits as in the process that saved them."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.errors import (
    ArgumentError,
    DTypeError,
    IndexRangeError,
    ObservationError,
    RequestError,
    SaveError,
    ShapeError,
)
from tenor.ir import dtype as dt
from tenor.save import LoadedModel, atomic, examples, load, save
from tenor.save.elements import stored
from tenor.save.loaded import Mismatch
from tenor.save.programs import KEPT_SIZES


def bits(value):
    array = stored(value).array if isinstance(value, tn.Tensor) else np.asarray(value)
    return array.shape, array.dtype, array.tobytes()


def answer(model, *inputs):
    model.eval()
    with tn.no_grad():
        return model(*inputs)


def saved(tmp_path, model, inputs, **options):
    path = tmp_path / "model.tnr"
    save(model, path, example_inputs=inputs, **options)
    found = load(path)
    assert isinstance(found, LoadedModel)
    return found


def same(model, found, make, sizes=(1, 2, 5, 33)):
    for n in sizes:
        inputs = make(n)
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        assert bits(answer(model, *inputs)) == bits(found(*inputs)), n


class Function(nn.Module):
    """A module of one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Two(nn.Module):
    """Two inputs, several outputs."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x, mask):
        y = self.fc(x)
        return {"y": y, "kept": tn.where(mask[:, None], y, tn.zeros_like(y)), "total": y.sum()}


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * 16, 10),
    )  # fmt: skip


# -- the same bits ----------------------------------------------------------------------------
def test_mlp(tmp_path):
    model = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 3), nn.Softmax(dim=-1))
    found = saved(tmp_path, model, tn.randn(4, 6), name="mlp", version=3, description="A line.")
    assert (found.name, found.version, found.description) == ("mlp", "3", "A line.")
    same(model, found, lambda n: tn.randn(n, 6))
    assert found.verify()
    signature = found.signatures["predict"]
    assert [(s.name, s.dtype, s.shape) for s in signature.outputs] == [
        ("output", tn.float32, ("batch", 3))
    ]


def test_cnn_with_batch_norm_and_dropout_in_evaluation_mode(tmp_path):
    model = cnn()
    for _ in range(3):
        model(tn.randn(16, 1, 8, 8))  # the running statistics move
    assert model.training
    found = saved(tmp_path, model, tn.randn(4, 1, 8, 8))
    assert all(module.training for module in model.modules())
    same(model, found, lambda n: tn.randn(n, 1, 8, 8))


def test_modes_of_parts_are_put_back(tmp_path):
    model = cnn()
    model[1].eval()
    saved(tmp_path, model, tn.randn(2, 1, 8, 8))
    assert [m.training for m in model] == [True, False, True, True, True, True, True]


def test_lstm_and_embedding(tmp_path):
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(20, 5)
            self.rnn = nn.LSTM(5, 7, num_layers=2, batch_first=True)
            self.out = nn.Linear(7, 3)

        def forward(self, words):
            hidden, _ = self.rnn(self.embed(words))
            return self.out(hidden)

    model = Tagger()
    rng = np.random.default_rng(0)

    def words(n):
        return tn.tensor(rng.integers(0, 20, (n, 6)))

    found = saved(tmp_path, model, words(3))
    assert found.signatures["predict"].inputs[0].name == "words"
    same(model, found, words, sizes=(1, 4))
    bad = np.zeros((2, 6), np.int64)
    bad[1, 3] = 20
    with pytest.raises(IndexRangeError, match="20"):
        found(bad)
    assert bits(found(bad * 0)) == bits(answer(model, tn.tensor(bad * 0)))


def test_several_inputs_and_outputs(tmp_path):
    model = Two()

    def make(n):
        return tn.randn(n, 3), tn.arange(n) % 2 == 0

    for given in (make(4), dict(zip(("mask", "x"), reversed(make(4)), strict=True))):
        found = saved(tmp_path, model, given)
        signature = found.signatures["predict"]
        assert [s.name for s in signature.inputs] == ["x", "mask"]
        assert [(s.name, s.shape) for s in signature.outputs] == [
            ("y", ("batch", 4)), ("kept", ("batch", 4)), ("total", ()),
        ]  # fmt: skip
        for n in (1, 6):
            x, mask = make(n)
            wanted, came = answer(model, x, mask), found(x, mask)
            assert {k: bits(v) for k, v in wanted.items()} == {k: bits(v) for k, v in came.items()}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 0.1 + 3,
        lambda x: x**3 - x / 7,
        lambda x: x.mean(0),
        lambda x: x - x.mean(),
        lambda x: x.reshape(-1),
        lambda x: x.T @ x,
        lambda x: tn.cat([x, x * 2]),
        lambda x: x[-1],
        lambda x: x[1:] if x.shape[0] > 1 else x[:0],
        lambda x: x + tn.arange(x.shape[0])[:, None],
        lambda x: tn.zeros(x.shape[0], 2) + x[:, :1],
        lambda x: x.argmax(1),
        lambda x: x.sort(1)[0],
        lambda x: (x.clone(), x > 0),
        lambda x: x,
        lambda x: tn.tensor([1.0, 2.0, 3.0, 4.0]) * x,
        lambda x: x.half() * 0.1,
        lambda x: x.bfloat16() * 0.1,
        lambda x: x.double() * 0.1,
        lambda x: (x * 100).to(tn.int8) * 3,
        lambda x: x.clone().relu_().add_(1),
    ],
)
def test_functions_of_the_batch(tmp_path, function):
    model = Function(function)
    found = saved(tmp_path, model, tn.randn(6, 4))
    for n in (2, 6, 40):
        x = tn.randn(n, 4)
        wanted, came = answer(model, x), found(x)
        if isinstance(wanted, tuple):
            wanted = dict(zip(("output_0", "output_1"), wanted, strict=True))
            assert {k: bits(v) for k, v in wanted.items()} == {k: bits(v) for k, v in came.items()}
        else:
            assert bits(wanted) == bits(came)
            assert wanted.dtype is came.dtype
    assert found.verify()


def test_dims_that_only_the_program_knows(tmp_path):
    found = saved(tmp_path, Function(lambda x: (x.reshape(-1), x)), tn.randn(5, 4))
    shapes = [spec.shape for spec in found.signatures["predict"].outputs]
    assert shapes == [("n0",), ("batch", 4)]


def test_a_fixed_size(tmp_path):
    model = nn.Linear(3, 2)
    found = saved(tmp_path, model, tn.randn(4, 3), dynamic=None)
    assert found.signatures["predict"].inputs[0].shape == (4, 3)
    same(model, found, lambda n: tn.randn(n, 3), sizes=(4,))
    with pytest.raises(ShapeError, match="must be"):
        found(tn.randn(5, 3))


def test_inputs_without_dims(tmp_path):
    found = saved(tmp_path, Function(lambda x: x * 2), tn.tensor(3.0))
    assert found(4.0).item() == 8
    assert found.verify()


def test_bfloat16_in_and_out(tmp_path):
    model = nn.Linear(4, 3).bfloat16()
    x = tn.randn(5, 4).bfloat16()
    found = saved(tmp_path, model, x)
    came = found(x)
    assert came.dtype is tn.bfloat16
    assert bits(came) == bits(answer(model, x))
    raw = found.run("predict", {"input": np.zeros((2, 4), np.uint16)})
    assert raw["output"].dtype == np.uint16
    assert found(x.float()).tolist() == came.tolist()


def test_weights_of_every_kind(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 3)
            self.b = nn.Linear(3, 3)
            self.b.weight = self.a.weight  # tied
            self.register_buffer("shift", tn.arange(3), persistent=False)
            self.unused = nn.Parameter(tn.ones(2))
            self.plain = tn.full((3,), 0.5)  # a tensor that is no weight

        def forward(self, x):
            return self.b(self.a(x)) + self.shift * self.plain + tn.tensor([1.0, 2.0, 3.0])

    model = Odd()
    found = saved(tmp_path, model, tn.randn(4, 3))
    same(model, found, lambda n: tn.randn(n, 3))
    weights = found.state_dict()
    assert set(model.state_dict()) | {"shift"} == set(weights)
    other = Odd()
    del weights["shift"]
    other.load_state_dict(weights)
    assert bits(other.b.weight.detach()) == bits(model.b.weight.detach())


def test_signatures(tmp_path):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(x)

        def probabilities(self, x):
            return self(x).softmax(-1)

        def scale(self, x, by):
            return x * by

    model = Model()
    found = saved(
        tmp_path, model, tn.randn(4, 3),
        signatures={
            "predict": model, "probabilities": model.probabilities,
            "scale": (model.scale, (tn.randn(4, 2), tn.tensor(2.0))),
        },
    )  # fmt: skip
    assert set(found.signatures) == {"predict", "probabilities", "scale"}
    x = tn.randn(7, 3)
    assert bits(found(x)) == bits(answer(model, x))
    with tn.no_grad():
        assert bits(found(x, signature="probabilities")) == bits(model.probabilities(x))
    assert found(tn.ones(3, 2), 4.0, signature="scale").tolist() == [[4.0] * 2] * 3
    assert found.verify().examples == 3
    with pytest.raises(ArgumentError, match="signature"):
        found(x, signature="other")


# -- files ------------------------------------------------------------------------------------
def test_the_same_model_makes_the_same_file(tmp_path):
    model, x = cnn(), tn.randn(4, 1, 8, 8)
    for name in ("a", "b"):
        save(model, tmp_path / f"{name}.tnr", example_inputs=x, name="m")
    assert (tmp_path / "a.tnr").read_bytes() == (tmp_path / "b.tnr").read_bytes()


def test_assets(tmp_path):
    found = saved(tmp_path, nn.Linear(2, 2), tn.ones(1, 2), assets={"labels.txt": b"a\nb"})
    assert found.asset("labels.txt") == b"a\nb"
    with pytest.raises(ArgumentError, match=r"labels\.txt"):
        found.asset("other")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.tnr"
    model, x = nn.Linear(2, 2), tn.ones(1, 2)
    save(model, path, example_inputs=x)
    old = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "write", full)
        with pytest.raises(SaveError, match="No space"):
            save(nn.Linear(2, 2), path, example_inputs=x)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["model.tnr"]
    assert load(path).verify()


def test_a_model_in_use_may_be_replaced(tmp_path):
    a, b, x = nn.Linear(2, 2), nn.Linear(2, 2), tn.randn(3, 2)
    found = saved(tmp_path, a, x)
    save(b, tmp_path / "model.tnr", example_inputs=x)
    assert bits(found(x)) == bits(answer(a, x))
    assert bits(load(tmp_path / "model.tnr")(x)) == bits(answer(b, x))


def test_state_dicts(tmp_path):
    model = cnn()
    path = tmp_path / "weights.safetensors"
    for what in (model, model.state_dict()):
        save(what, path, metadata={"epoch": "3"})
        found = load(path)
        assert {k: bits(v) for k, v in found.items()} == {
            k: bits(v) for k, v in model.state_dict().items()
        }
    found["0.weight"].add_(1)  # loaded tensors are one's own
    cnn().load_state_dict(found)


def test_every_dtype_as_safetensors(tmp_path):
    path = tmp_path / "all.safetensors"
    tensors = {d.name: tn.arange(3).to(d) for d in dt.ALL}
    save(tensors, path)
    for name, value in load(path).items():
        assert value.dtype is tensors[name].dtype
        assert value.tolist() == tensors[name].tolist()


def test_the_package_is_the_function(tmp_path):
    tn.save(nn.Linear(2, 2), tmp_path / "m.tnr", example_inputs=tn.ones(1, 2))
    assert tn.load(tmp_path / "m.tnr").verify()


@pytest.mark.parametrize("name", ["x.pt", "x", "x.safetensors.bak"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(ArgumentError, match=r"a model to a \.tnr file"):
        save({"a": tn.ones(1)}, tmp_path / name)
    with pytest.raises(ArgumentError, match=r"a model to a \.tnr file"):
        save({"a": tn.ones(1)}, tmp_path / "x.tnr")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("my model.tnr", "my_model"),
        ("modèle (2).tnr", "mod_le__2_"),
        ("..tnr", "model"),
        (f"{'x' * 200}.tnr", "x" * 128),
        ("v1.2.tnr", "v1.2"),
    ],
)
def test_a_model_is_named_after_any_file(tmp_path, file, name):
    save(nn.Linear(2, 2), tmp_path / file, example_inputs=tn.ones(1, 2))
    assert load(tmp_path / file).name == name


# -- what cannot be saved ---------------------------------------------------------------------
def branches(x):
    return x * 2 if x.shape[0] % 4 == 3 else x + 1


def reads(x):
    return x * 2 if x.sum() > 0 else x


REFUSED = {
    "no inputs": (lambda x: x, None, ArgumentError, "example inputs"),
    "no rows": (lambda x: x, tn.zeros(0, 3), ArgumentError, "rows"),
    "branches on the size": (branches, tn.ones(2, 3), ArgumentError, "batch"),
    "squares the size": (
        lambda x: x.reshape(-1).repeat(x.shape[0]), tn.ones(2, 3), ArgumentError, "linear",
    ),
    "reads a value": (reads, tn.ones(2, 3), ObservationError, "values"),
    "prints": (lambda x: x * x.sum().item(), tn.ones(2, 3), ObservationError, "values"),
    "draws": (lambda x: x + tn.randn(3), tn.ones(2, 3), ArgumentError, "random"),
    "returns a number": (lambda x: 3, tn.ones(2, 3), ArgumentError, "int"),
    "returns nothing": (lambda x: None, tn.ones(2, 3), ArgumentError, "nothing"),
    "two of one name": (
        lambda x: {"a": (x, x), "a_0": x}, tn.ones(2, 3), ArgumentError, "different names",
    ),
    "a name with a space": (lambda x: {"a b": x}, tn.ones(2, 3), ArgumentError, "name"),
    "data of the size": (
        lambda x: x + tn.tensor(list(range(x.shape[0])))[:, None], tn.ones(2, 3), ArgumentError,
        "every size",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("function", "inputs", "error", "match"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_saved(tmp_path, function, inputs, error, match):
    model = Function(function)
    model.fc = nn.Linear(3, 3)
    with pytest.raises(error, match=match):
        save(model, tmp_path / "m.tnr", example_inputs=inputs)
    assert not list(tmp_path.iterdir())
    # Nothing of the attempt is left behind in the recorder or the model.
    assert model.training
    assert model.fc(tn.ones(1, 3)).shape == (1, 3)


def test_writing_a_weight_is_refused_and_undone(tmp_path):
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", tn.zeros(()))

        def forward(self, x):
            self.calls.add_(1)
            return x + self.calls

    model = Counter()
    with pytest.raises(ArgumentError, match="leave the model"):
        save(model, tmp_path / "m.tnr", example_inputs=tn.ones(2))
    assert model.calls.item() == 0
    assert model(tn.ones(1)).tolist() == [2]


def test_a_model_that_keeps_its_activations(tmp_path):
    class Keeps(nn.Module):
        def forward(self, x):
            self.__dict__["last"] = x * 2
            return self.last + 1

    model = Keeps()
    saved(tmp_path, model, tn.ones(2, 3))
    assert model.last.sum().item() == 12  # of the last call, which gave the example


def test_pending_work_is_not_lost(tmp_path):
    pending = tn.ones(3) * 5
    saved(tmp_path, nn.Linear(2, 2), tn.ones(1, 2))
    assert pending.tolist() == [5, 5, 5]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"signatures": {"a b": nn.Identity()}}, "'a b'"),
        ({"signatures": {3: nn.Identity()}}, "signature's name"),
        ({"dynamic": "a b"}, "dynamic is letters"),
        ({"dynamic": 7}, "dynamic is letters"),
        ({"assets": {"words.txt": "text"}}, "an asset is bytes"),
        ({"name": "a b"}, "a b"),
    ],
)
def test_arguments_no_bundle_can_be_made_of(tmp_path, arguments, match):
    with pytest.raises(ArgumentError, match=match):
        save(nn.Identity(), tmp_path / "m.tnr", example_inputs=tn.ones(1, 2), **arguments)
    assert not list(tmp_path.iterdir())


def test_a_function_alone_is_no_model(tmp_path):
    with pytest.raises(ArgumentError, match=r"forward\(\) of an nn.Module"):
        save(lambda x: x, tmp_path / "m.tnr", example_inputs=tn.ones(1, 2))


# -- running ----------------------------------------------------------------------------------
def test_inside_a_compiled_function_it_says_so(tmp_path):
    found = saved(tmp_path, nn.Linear(3, 2), tn.ones(4, 3))
    with pytest.raises(ObservationError, match=r"the saved model 'model' reads a value inside"):
        tn.compile(lambda x: found(x) * 2)(tn.ones(4, 3))


def test_inputs_that_do_not_fit(tmp_path):
    found = saved(tmp_path, Two(), (tn.ones(4, 3), tn.ones(4) > 0))
    x, mask = np.ones((2, 3), np.float32), np.ones(2, bool)
    found.run("predict", {"x": x, "mask": mask})
    with pytest.raises(RequestError, match="signature"):
        found.run("other", {})
    with pytest.raises(RequestError, match="every input"):
        found.run("predict", {"x": x})
    with pytest.raises(RequestError, match="every input"):
        found.run("predict", {"x": x, "mask": mask, "y": x})
    with pytest.raises(RequestError, match="float64"):
        found.run("predict", {"x": x.astype(np.float64), "mask": mask})
    with pytest.raises(RequestError, match="list"):
        found.run("predict", {"x": x.tolist(), "mask": mask})
    with pytest.raises(ShapeError, match="batch = 2"):
        found.run("predict", {"x": x, "mask": mask[:1]})
    with pytest.raises(ShapeError, match="must be"):
        found.run("predict", {"x": x[0], "mask": mask})
    with pytest.raises(ShapeError, match="must be"):
        found.run("predict", {"x": x[:, :2], "mask": mask})
    with pytest.raises(ArgumentError, match="2 inputs"):
        found(x)
    with pytest.raises(DTypeError, match="convert"):
        found(x, x)


def test_what_a_call_takes(tmp_path):
    model = nn.Linear(2, 2)
    found = saved(tmp_path, model, tn.ones(1, 2))
    wanted = bits(answer(model, tn.tensor([[1.0, 2.0]])))
    for value in ([[1.0, 2.0]], np.array([[1.0, 2.0]]), tn.tensor([[1.0, 2.0]]),
                  np.asfortranarray(np.array([[1.0, 2.0]], np.float32))):  # fmt: skip
        assert bits(found(value)) == wanted


def test_an_empty_batch(tmp_path):
    found = saved(tmp_path, nn.Linear(2, 3), tn.ones(1, 2))
    assert found(tn.ones(0, 2)).shape == (0, 3)


def test_sizes_are_kept_and_forgotten(tmp_path):
    model = nn.Linear(2, 2)
    found = saved(tmp_path, model, tn.ones(1, 2))
    for n in range(1, KEPT_SIZES + 5):
        found(tn.ones(n, 2))
    program = found._programs["predict"]
    assert [key for (key,) in program._ready] == list(range(5, KEPT_SIZES + 5))
    first = program.ready({"batch": 5})
    assert program.ready({"batch": 5}) is first
    assert next(reversed(program._ready)) == (5,)


def test_weights_are_shared_by_all_sizes_and_mapped(tmp_path):
    found = saved(tmp_path, nn.Linear(4, 4), tn.ones(1, 4))
    weight = found._weights.arrays["weight"]
    assert not weight.flags.owndata
    assert not weight.flags.writeable
    assert weight.ctypes.data in [b.pointer for b in found._programs["predict"].buffers]


def test_threads(tmp_path):
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    found = saved(tmp_path, model, tn.ones(1, 8))
    inputs = [tn.randn(n, 8) for n in (1, 2, 3, 4)]
    wanted = [bits(answer(model, x)) for x in inputs]
    arrays = [x.numpy() for x in inputs]
    failures = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(30):
            i = rng.integers(4)
            (output,) = found.run("predict", {"x": arrays[i]}).values()
            if bits(output) != wanted[i]:
                failures.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_memory_is_bounded_before_it_is_taken(tmp_path):
    path = tmp_path / "model.tnr"
    save(nn.Linear(4, 4), path, example_inputs=tn.ones(1, 4))
    found = load(path, max_bytes=10_000)
    found(tn.ones(4, 4))
    with pytest.raises(ShapeError, match="10,000 bytes"):
        found(tn.ones(1000, 4))


@pytest.mark.parametrize(("limit", "rows"), [(1 << 20, 8), (100, 4), (30, 1), (10, None)])
def test_examples_are_kept_small(tmp_path, monkeypatch, limit, rows):
    monkeypatch.setattr(examples, "MAX_BYTES", limit)
    found = saved(tmp_path, nn.Linear(3, 2), tn.ones(10, 3))
    kept = found.examples
    assert (kept["predict"].inputs["input"].shape[0] if kept else None) == rows
    assert found.verify()


def test_verification_tells_what_differs(tmp_path):
    model = nn.Linear(2, 2)
    found = saved(tmp_path, model, tn.ones(3, 2))
    example = found.examples["predict"]
    assert example.outputs["output"].shape == (3, 2)
    changed = example.outputs["output"].copy()
    changed[1, 1] += 0.5
    example.outputs["output"] = changed
    result = found.verify()
    assert not result
    assert result.rows == 3
    (mismatch,) = result.mismatches
    assert (mismatch.signature, mismatch.output, mismatch.elements) == ("predict", "output", 1)
    assert mismatch.largest == pytest.approx(0.5, rel=1e-3)
    assert isinstance(mismatch, Mismatch)


def test_the_text_of_a_program(tmp_path):
    found = saved(tmp_path, nn.Linear(2, 3), tn.ones(1, 2))
    assert "<1*batch+0>" in found.program("predict")
    assert "Linear" not in found.program("predict")
    assert "predict(input: float32 [batch, 2]) -> output: float32 [batch, 3]" in repr(found)
