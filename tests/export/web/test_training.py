"""A training step in the browser does what the same step does in Python."""

import json
import shutil
import struct
import subprocess

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.errors import ArgumentError
from tenor.export.numbers import Number
from tenor.export.web import export_web
from tests.export import zoo
from tests.export.web.chromium import in_chromium
from tests.export.web.engines import InWasmtime, constant, in_node, jsonable

STEPS = 20


def network():
    tn.manual_seed(3)
    return nn.Sequential(  # a bias before a norm has no gradient but rounding, which Adam enlarges
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.25), nn.Linear(64, 10),
    )  # fmt: skip


def batches():
    return [
        (zoo.images(8, 1, 8, 8, seed=i), zoo.tokens(8, 1, 10, seed=i)[:, 0]) for i in range(STEPS)
    ]


def in_python(lr):
    """Return the losses of the steps, and the model after them."""
    model = network()
    optimizer = tn.optim.Adam(model.parameters(), lr=lr)
    tn.manual_seed(0)
    model.train()
    losses = []
    for x, y in batches():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(tn.tensor(x)), tn.tensor(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("web") / "taught"
    export_web(network(), made, example_inputs=batches()[0][0], train=True, lr=3e-3)
    return made


def check_state(path, model):
    state = tn.load(path)
    for key, value in model.state_dict().items():
        np.testing.assert_allclose(state[key].numpy(), value.numpy(), atol=1e-5, err_msg=key)
    fresh = network()
    fresh.load_state_dict(state)


@pytest.mark.parametrize("kind", ["relaxed", "simd"])
def test_wasmtime(folder, kind):
    engine, (losses, model) = InWasmtime(folder, kind), in_python(3e-3)
    train = constant(folder / "training.js", "STEP")
    engine.bind(train, train["numbers"])
    text = (folder / "training.js").read_text()
    found = text.partition("const NUMBERS = (lr, t) => [")[2].partition("];")[0]
    for i, (x, y) in enumerate(batches()):
        values = [
            Number("i64" if n.startswith("BigInt") else "f64", n).value(3e-3, i + 1)
            for n in found.split(", ")
        ]
        packed = b"".join(struct.pack("<q" if isinstance(v, int) else "<d", v) for v in values)
        engine.put(train["numbers"], np.frombuffer(packed, np.uint8))
        status, made = engine.call("train", train, (x, y))
        assert status == 0
        np.testing.assert_allclose(made["loss"], losses[i], atol=1e-5)
    x = batches()[0][0][:1]
    answer = model(tn.tensor(x)).detach().numpy()
    np.testing.assert_allclose(next(iter(engine.run(x)[1].values())), answer, atol=1e-5)


BODY = """
const m = await load();
const losses = given.data.map(([x, y]) => m.trainStep(x, y, { lr: given.lr }));
const state = Array.from(new Uint8Array(m.state()));
return { losses, state, answer: m.predict(given.data[0][0].slice(0, 1)), batch: m.batch };
"""


@pytest.mark.parametrize("engine", [in_node, in_chromium], ids=["node", "chromium"])
def test_script(folder, engine, tmp_path):
    data = [[jsonable(x), jsonable(y)] for x, y in batches()]
    more = {"tmp": tmp_path} if engine is in_chromium else {}
    came = engine(folder, BODY, {"data": data, "lr": 3e-3}, **more)
    losses, model = in_python(3e-3)
    np.testing.assert_allclose(came["losses"], losses, atol=1e-5)
    (tmp_path / "state.safetensors").write_bytes(bytes(came["state"]))
    check_state(tmp_path / "state.safetensors", model)
    answer = model(tn.tensor(batches()[0][0][:1])).detach().numpy()
    np.testing.assert_allclose(came["answer"], answer.ravel(), atol=1e-5)
    assert came["batch"] == 8


def test_the_step_is_a_script_of_its_own(folder):
    assert (folder / "model.js").stat().st_size < 8192
    assert "training.js" in json.loads((folder / "package.json").read_text())["files"]
    assert "trainStep" not in (folder / "model.js").read_text()


@pytest.mark.parametrize("way", ["npm", "bundled"])
def test_the_step_comes_along(folder, way, tmp_path):
    shutil.copytree(folder, tmp_path / "node_modules" / "taught")
    module, esbuild = "taught", shutil.which("esbuild")
    if way == "bundled":
        if esbuild is None:
            pytest.skip("esbuild is not here (npm install -g esbuild)")
        (tmp_path / "app.mjs").write_text('export { load } from "taught";\n')
        how = ["--bundle", "--format=esm", "--minify", "--platform=neutral"]
        command = [esbuild, "app.mjs", *how, "--outfile=out/app.mjs"]
        subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
        for name in ("model.relaxed.wasm", "model.simd.wasm", "weights.bin"):
            shutil.copy(folder / name, tmp_path / "out")
        module = (tmp_path / "out" / "app.mjs").as_uri()
    x, y = batches()[0]
    body = "return (await load()).trainStep(...given);"
    loss = in_node(None, body, [jsonable(x), jsonable(y)], cwd=tmp_path, module=module)
    np.testing.assert_allclose(loss, in_python(3e-3)[0][0], atol=1e-5)


def test_targets_that_are_not_classes(tmp_path):
    rows = zoo.images(8, 5)
    tn.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))
    how = {"example_inputs": rows, "train": True, "optimizer": "sgd", "lr": 0.1}
    with pytest.raises(ArgumentError, match="a loss has targets"):
        export_web(model, tmp_path / "web", **how, loss=lambda came, wanted: (came - wanted).sum())
    assert not (tmp_path / "web").exists()
    export_web(model, tmp_path / "web", **how, loss="mse_loss")
    body = "const m = await load(); return given.map(([x, y]) => m.trainStep(x, y));"
    losses = in_node(tmp_path / "web", body, [[jsonable(rows), jsonable(zoo.images(8, 2))]] * 9)
    assert losses[-1] < losses[0]
    first = nn.functional.mse_loss(model(tn.tensor(rows)), tn.tensor(zoo.images(8, 2)))
    np.testing.assert_allclose(losses[0], first.item(), atol=1e-6)


class Two(nn.Module):
    """A class and a number."""

    def __init__(self):
        super().__init__()
        self.kind, self.value = nn.Linear(5, 3), nn.Linear(5, 1)

    def forward(self, x):
        return {"kind": self.kind(x), "value": self.value(x)}


class Pair(Two):
    """The same as a tuple."""

    def forward(self, x):
        return self.kind(x), self.value(x)


def of_a_pair(came, wanted):
    """Take both targets as one tuple, as `fit` gives them."""
    (kinds, values), (kind, value) = came, wanted
    return nn.functional.cross_entropy(kinds, kind) + nn.functional.mse_loss(values, value)


KINDS = zoo.tokens(8, 1, 3)[:, 0]
COMPILED = {  # module, loss, targets; whether targets are known before it was fitted
    "cross_entropy": (lambda: nn.Linear(5, 3), "cross_entropy", KINDS, True),
    "probabilities": (lambda: nn.Sequential(nn.Linear(5, 3), nn.Softmax(-1)),
                      "sparse_categorical_crossentropy", KINDS, True),
    "one hot": (lambda: nn.Sequential(nn.Linear(5, 3), nn.Softmax(-1)),
                "categorical_crossentropy", np.eye(3, dtype=np.float32)[KINDS], True),
    "module": (lambda: nn.Linear(5, 3), nn.CrossEntropyLoss(label_smoothing=0.1), KINDS, True),
    "numbers": (lambda: nn.Linear(5, 2), "mse", zoo.images(8, 2), True),
    "function": (lambda: nn.Linear(5, 2), lambda came, wanted: ((came - wanted) ** 4).mean(),
                 zoo.images(8, 2), False),
    "outputs": (Two, {"kind": "cross_entropy", "value": "mse"},
                {"kind": KINDS, "value": zoo.images(8, 1)}, False),
    "pair": (Pair, ["cross_entropy", "mse"], (KINDS, zoo.images(8, 1)), False),
    "function of a pair": (Pair, of_a_pair, (KINDS, zoo.images(8, 1)), False),
}  # fmt: skip


@pytest.mark.parametrize("fitted", [False, True], ids=["compiled", "fitted"])
@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_model_needs_no_targets(name, fitted, tmp_path):
    make, loss, targets, known = COMPILED[name]
    rows = zoo.images(8, 5)
    tn.manual_seed(1)
    model = tn.Model(make())
    model.compile("adam", loss)
    if fitted:
        model.fit(rows, targets, batch_size=8, verbose=0)
        model.export_web(tmp_path / "web", train=True)
    elif not known:
        with pytest.raises(ArgumentError, match="a loss has targets"):
            model.export_web(tmp_path / "web", train=True, example_inputs=rows)
        return
    else:
        model.export_web(tmp_path / "web", train=True, example_inputs=rows)
    parts = targets.values() if isinstance(targets, dict) else targets
    parts = parts if isinstance(targets, (dict, tuple)) else [targets]
    given = {f"target_{i}": jsonable(part) for i, part in enumerate(parts)}
    body = "const m = await load(); return [1, 2, 3].map(() => m.trainStep(...given));"
    came = in_node(tmp_path / "web", body, [jsonable(rows), given])
    fresh = tn.Model(make())
    fresh.load_state_dict(model.state_dict())
    fresh.compile("adam", loss)
    for found in came:
        fresh.reset_metrics()
        wanted = fresh.train_on_batch(rows, targets, return_dict=True)
        np.testing.assert_allclose(found, float(wanted["loss"]), atol=1e-5)


@pytest.mark.parametrize("groups", [
    lambda m: [{"params": m.kind.parameters()}, {"params": m.value.parameters(), "lr": 0.02}],
    lambda m: list(m.value.parameters()),
], ids=["two rates", "some"])  # fmt: skip
def test_a_compiled_model_keeps_its_groups(groups, tmp_path):
    """Parameters of other rates keep them, and those that are not trained stay as they are."""
    rows, aims = zoo.images(8, 5), {"kind": KINDS, "value": zoo.images(8, 1)}
    made = []
    for _ in range(2):
        tn.manual_seed(1)
        model = tn.Model(Two())
        rule = tn.optim.SGD(groups(model.module), lr=0.2, momentum=0.5)
        model.compile(rule, {"kind": "cross_entropy", "value": "mse"})
        made.append(model)
    model, fresh = made
    model.aimed = aims
    model.export_web(tmp_path / "web", train=True, example_inputs=rows)
    body = """const m = await load();
for (let i = 0; i < 4; i++) m.trainStep(...given);
return Array.from(new Uint8Array(m.state()));"""
    given = {"target_0": jsonable(aims["kind"]), "target_1": jsonable(aims["value"])}
    came = in_node(tmp_path / "web", body, [jsonable(rows), given])
    (tmp_path / "s.safetensors").write_bytes(bytes(came))
    state = tn.load(tmp_path / "s.safetensors")
    for _ in range(4):
        fresh.train_on_batch(rows, aims)
    for key, value in fresh.module.state_dict().items():
        np.testing.assert_allclose(state[key].numpy(), value.numpy(), atol=1e-5, err_msg=key)


def test_a_saved_model_of_two_inputs_is_taught(tmp_path):
    """Inputs keep their order, whatever way examples were given."""
    path, (numbers, kinds) = zoo.bundle("tabular", tmp_path / "m.tnr")
    saved = tn.load(path)

    class Scores(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = zoo.Tabular()

        def forward(self, numbers, kinds):
            return self.inner(numbers, kinds)["probabilities"].log()

    model = Scores()
    model.inner.load_state_dict(saved.state_dict())
    given = {"numbers": numbers[:8], "kinds": kinds[:8]}
    export_web(model, tmp_path / "web", example_inputs=given, train=True, optimizer="sgd", lr=0.1)
    body = """const m = await load(), [numbers, kinds, y] = given;
return Array.from({ length: 3 }, () => m.trainStep({ numbers, kinds }, { target_0: y }));"""
    y = np.arange(8) % 4
    came = in_node(tmp_path / "web", body, [jsonable(a) for a in (*given.values(), y)])
    optimizer = tn.optim.SGD(model.parameters(), lr=0.1)
    for loss in came:
        optimizer.zero_grad()
        wanted = nn.functional.cross_entropy(
            model(tn.tensor(given["numbers"]), tn.tensor(given["kinds"])), tn.tensor(y)
        )
        wanted.backward()
        optimizer.step()
        np.testing.assert_allclose(loss, wanted.item(), atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("m.trainStep(x)", "targets"),
        ("m.trainStep(x.slice(1), y)", "7"),
        ("m.trainStep(x, y.slice(1))", "7"),
        ("m.trainStep(x, y, { lr: NaN })", "lr"),
        ("m.trainStep(x, y.map(() => 0.5))", "0.5"),
        ("m.trainStep({ nothing: x }, y)", "nothing"),
    ],
)
def test_a_step_that_does_not_fit_is_refused(folder, call, message):
    x, y = batches()[0]
    body = f"""
const m = await load(), [x, y] = given;
try {{ {call}; }} catch (problem) {{ return problem; }}"""
    came = in_node(folder, body, [jsonable(x), jsonable(y)])
    assert message in came["message"]
