"""Model: compile, fit, evaluate, predict, summary, weights; and what a step costs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import tenor as tn
from tenor import nn
from tenor.data import DataLoader, Dataset, IterableDataset, TensorDataset
from tenor.engine.flush import counts
from tenor.errors import ArgumentError, LabelError, ShapeError
from tenor.optim import lr_scheduler
from tenor.train import LOSSES, Callback, LambdaCallback


def make_net(seed=0):
    tn.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def weights(module):
    return {n: p.detach().numpy().copy() for n, p in module.named_parameters()}


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def copied(net):
    """Return PyTorch's twin of a network of linear layers."""
    layers = []
    for layer in net:
        if isinstance(layer, nn.Linear):
            twin = torch.nn.Linear(layer.in_features, layer.out_features)
            with torch.no_grad():
                twin.weight.copy_(torch.tensor(layer.weight.detach().numpy().copy()))
                twin.bias.copy_(torch.tensor(layer.bias.detach().numpy().copy()))
            layers.append(twin)
        else:
            layers.append(torch.nn.ReLU())
    return torch.nn.Sequential(*layers)


# -- fit ----------------------------------------------------------------------------------------
def test_digits_are_learnt():
    x_train, y_train, x_test, y_test = tn.data.load_digits()
    tn.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    model = tn.Model(net)
    optimizer = tn.optim.Adam(net.parameters(), lr=3e-3)
    model.compile(optimizer, "cross_entropy", metrics=["accuracy"])
    history = model.fit(x_train, y_train, epochs=12, validation_data=(x_test, y_test), verbose=0)
    assert history.history["val_accuracy"][-1] > 0.95
    assert history.history["loss"][-1] < 0.1
    loss, accuracy = model.evaluate(x_test, y_test)
    assert accuracy == history.history["val_accuracy"][-1]
    assert loss == pytest.approx(history.history["val_loss"][-1])
    labels = model.predict(x_test).argmax(1)
    assert (labels == y_test).mean() == pytest.approx(accuracy)


def test_fit_matches_a_plain_torch_loop(net, blobs):
    x, y = blobs
    twin = copied(net)
    model = tn.Model(net)
    model.compile(tn.optim.SGD(net.parameters(), lr=0.05, momentum=0.9), "cross_entropy")
    losses = []
    model.fit(
        x, y, batch_size=32, epochs=3, shuffle=False, verbose=0,
        callbacks=[LambdaCallback(on_epoch_end=lambda e, logs: losses.append(logs["loss"]))],
    )  # fmt: skip
    ref = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(3):
        total = 0.0
        for at in range(0, 90, 32):
            ref.zero_grad()
            a, b = torch.tensor(x[at : at + 32]), torch.tensor(y[at : at + 32])
            loss = torch.nn.functional.cross_entropy(twin(a), b)
            loss.backward()
            ref.step()
            total += loss.item() * len(a)
        assert losses[epoch] == pytest.approx(total / 90, rel=1e-5)
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_history_and_epochs(model, blobs):
    history = model.fit(*blobs, epochs=5, initial_epoch=2, verbose=0)
    assert history.epoch == [2, 3, 4]
    assert list(history.history) == ["loss", "accuracy"]
    assert [len(v) for v in history.history.values()] == [3, 3]
    assert model.history is history
    assert history.history["loss"][2] < history.history["loss"][0]


def test_the_same_seed_gives_the_same_bits(blobs):
    def run():
        net = make_net(3)
        model = tn.Model(net)
        model.compile("adam", "cross_entropy")
        tn.manual_seed(7)
        model.fit(*blobs, epochs=2, batch_size=16, verbose=0)
        return weights(net)

    same(run(), run())


def test_steps_are_one_flush_each_and_compile_once(model, blobs):
    x, y = blobs
    model.fit(x, y, epochs=1, batch_size=16, verbose=0)
    before = dict(counts)
    seen = []
    count = LambdaCallback(on_train_batch_end=lambda b, logs: seen.append(counts["flushes"]))
    model.fit(x, y, epochs=3, batch_size=16, verbose=0, callbacks=[count])
    assert counts["plans"] == before["plans"]
    assert len(seen) == 18
    gaps = np.diff(seen).reshape(-1)
    assert [g for i, g in enumerate(gaps) if (i + 1) % 6] == [1] * 15


def test_callbacks_that_record_do_not_change_the_step(model, blobs):
    x, y = blobs

    def scribble(batch, logs):
        model.state_dict()
        tn.zeros(3) + 1

    model.fit(x, y, epochs=1, batch_size=16, verbose=0)
    scribbling = [LambdaCallback(on_train_batch_end=scribble)]
    model.fit(x, y, epochs=1, batch_size=16, verbose=0, callbacks=scribbling)
    before = counts["plans"]
    model.fit(x, y, epochs=2, batch_size=16, verbose=0, callbacks=scribbling)
    assert counts["plans"] == before


@pytest.mark.parametrize("kind", ["numpy", "tensor", "float64", "list"])
def test_kinds_of_arrays_give_the_same(kind, blobs):
    x, y = blobs
    data = {
        "numpy": (x, y),
        "tensor": (tn.tensor(x), tn.tensor(y)),
        "float64": (x.astype(np.float64), y.astype(np.int32)),
        "list": (x.tolist(), y.tolist()),
    }[kind]

    def run(data):
        net = make_net()
        model = tn.Model(net)
        model.compile(tn.optim.SGD(net.parameters(), lr=0.1), "cross_entropy")
        model.fit(*data, epochs=1, shuffle=False, verbose=0)
        return weights(net)

    same(run(data), run((x, y)))


class Points(Dataset):
    def __init__(self, blobs):
        self.x, self.y = blobs

    def __getitem__(self, i):
        return self.x[i], int(self.y[i])

    def __len__(self):
        return len(self.y)


class Stream(IterableDataset):
    def __init__(self, blobs):
        self.blobs = blobs

    def __iter__(self):
        return ((x, int(y)) for x, y in zip(*self.blobs, strict=True))


@pytest.mark.parametrize(
    "kind", ["dataset", "loader", "workers", "stream", "generator", "iterator"]
)
def test_kinds_of_loaders_give_the_same(kind, blobs):
    x, y = blobs

    def forever():
        while True:
            for at in range(0, 90, 32):
                yield x[at : at + 32], y[at : at + 32]

    make = {
        "dataset": lambda: (Points(blobs), {}),
        "loader": lambda: (DataLoader(TensorDataset(x, y), batch_size=32), {}),
        "workers": lambda: (DataLoader(Points(blobs), batch_size=32, num_workers=2), {}),
        "stream": lambda: (Stream(blobs), {}),
        "generator": lambda: (forever(), {"steps_per_epoch": 3}),
        "iterator": lambda: (itertools.islice(forever(), 6), {"steps_per_epoch": 3}),
    }[kind]

    def run(source, options, *, y=None):
        net = make_net()
        model = tn.Model(net)
        model.compile(tn.optim.SGD(net.parameters(), lr=0.1), "cross_entropy")
        history = model.fit(source, y, epochs=2, shuffle=False, verbose=0, **options)
        return weights(net), history.history["loss"]

    found, losses = run(*make())
    expected, wanted = run(x, {}, y=y)
    same(found, expected)
    assert losses == wanted


def test_validation_split_takes_the_end(model, blobs):
    x, y = blobs
    history = model.fit(x, y, validation_split=0.2, epochs=2, verbose=0)
    loss = model.evaluate(x[72:], y[72:])[0]
    assert history.history["val_loss"][-1] == pytest.approx(loss)
    with pytest.raises(ArgumentError, match="validation_split"):
        model.fit(DataLoader(TensorDataset(x, y)), validation_split=0.2)


@pytest.mark.parametrize("every", [2, np.int64(2)])
def test_validation_freq_and_steps(every, model, blobs):
    x, y = blobs
    history = model.fit(
        x, y, epochs=4, batch_size=16, steps_per_epoch=2, validation_data=(x, y),
        validation_freq=every, validation_steps=1, verbose=0,
    )  # fmt: skip
    assert len(history.history["loss"]) == 4
    assert len(history.history["val_loss"]) == 2
    seen = []
    note = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append("val_loss" in logs))
    model.fit(
        x, y, epochs=4, validation_data=(x, y), validation_freq=[1, 4], callbacks=[note], verbose=0
    )
    assert seen == [True, False, False, True]


def test_several_inputs_as_arguments_and_by_name():
    class Sum(nn.Module):
        def __init__(self):
            self.a = nn.Linear(2, 1)
            self.b = nn.Linear(3, 1)

        def forward(self, left, right):
            return self.a(left) + self.b(right)

    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(20, 2)), rng.normal(size=(20, 3))
    model = tn.Model(Sum())
    model.compile("sgd", "mse", ["mae"])
    first = model.fit((left, right), left[:, :1], epochs=2, batch_size=8, verbose=0)
    assert len(first.history["mae"]) == 2
    by_name = model.predict({"left": left, "right": right})
    np.testing.assert_array_equal(by_name, model.predict((left, right)))
    assert by_name.shape == (20, 1)


def test_outputs_in_nests_are_predicted():
    class Two(nn.Module):
        def forward(self, x):
            return {"double": x * 2, "parts": (x, x.sum(1))}

    found = tn.Model(Two()).predict(np.ones((5, 2)), batch_size=2)
    assert found["double"].shape == (5, 2)
    assert found["parts"][1].tolist() == [2.0] * 5


class Heads(tn.Model):
    """A model with two outputs, as a tuple or by name."""

    def __init__(self, named):
        self.label, self.size, self.named = nn.Linear(4, 3), nn.Linear(4, 1), named

    def forward(self, x):
        label, size = self.label(x), self.size(x)
        return {"label": label, "size": size} if self.named else (label, size)


@pytest.mark.parametrize("named", [True, False])
def test_several_outputs_have_losses_and_metrics_of_their_own(named, blobs):
    x, y = blobs
    total = x.sum(1, keepdims=True)

    def run(loss, targets, **options):
        tn.manual_seed(0)
        model = Heads(named)
        model.compile(tn.optim.SGD(model.parameters(), lr=0.01), loss, **options)
        return model, model.fit(x, targets, epochs=2, shuffle=False, verbose=0).history

    def summed(preds, target):
        a, b = preds.values() if named else preds
        c, d = target.values() if named else target
        return nn.functional.cross_entropy(a, c) + 0.5 * nn.functional.mse_loss(b, d)

    names = ["label", "size"] if named else ["output_0", "output_1"]
    pack = (lambda *parts: dict(zip(names, parts, strict=True))) if named else (
        lambda *parts: list(parts)
    )  # fmt: skip
    model, history = run(
        pack("cross_entropy", "mse"), pack(y, total), loss_weights=pack(1.0, 0.5),
        metrics=pack(["accuracy"], ["mae"]),
    )  # fmt: skip
    wanted = run(summed, pack(y, total))[1]["loss"]
    assert history["loss"] == pytest.approx(wanted, rel=1e-5)
    parts = [history[f"{name}_loss"] for name in names]
    assert history["loss"] == pytest.approx([a + 0.5 * b for a, b in zip(*parts, strict=True)])
    found = model.evaluate(x, pack(y, total), return_dict=True)
    preds = model.predict(x)
    label, size = preds.values() if named else preds
    assert found[f"{names[0]}_accuracy"] == pytest.approx((label.argmax(1) == y).mean())
    assert found[f"{names[1]}_mae"] == pytest.approx(np.abs(size - total).mean(), rel=1e-5)


def test_outputs_that_do_not_match_their_losses_are_named(blobs):
    x, y = blobs
    model = Heads(named=True)
    model.compile("sgd", {"label": "cross_entropy", "colour": "mse"})
    with pytest.raises(ArgumentError, match="predictions for the output 'colour'") as error:
        model.fit(x, {"label": y, "colour": y}, verbose=0)
    assert "['label', 'size']" in str(error.value)
    model.compile("sgd", {"label": "cross_entropy"})
    with pytest.raises(ArgumentError, match="targets for the output 'label'"):
        model.fit(x, y, verbose=0)
    model.compile("sgd", "mse")
    with pytest.raises(ArgumentError, match="one output"):
        model.fit(x, y, verbose=0)
    with pytest.raises(ArgumentError, match="loss_weights"):
        model.compile("sgd", "mse", loss_weights=[1.0])


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_floating_batches_of_loaders_come_in_the_models_dtype(dtype, model, blobs):
    x, y = blobs
    wanted = model.evaluate(x.astype(dtype), y)
    assert model.evaluate(DataLoader(TensorDataset(x.astype(dtype), y), batch_size=32)) == wanted
    assert model.evaluate(iter([(x.astype(dtype), y)]))[0] == pytest.approx(wanted[0], rel=1e-5)


# -- weights of samples and classes -------------------------------------------------------------
def test_sample_weight_and_class_weight_agree(blobs):
    x, y = blobs
    table = {0: 2.0, 2: 0.5}
    each = np.array([2.0, 1.0, 0.5], np.float32)[y]

    def run(**options):
        net = make_net()
        model = tn.Model(net)
        model.compile(tn.optim.SGD(net.parameters(), lr=0.1), "cross_entropy")
        model.fit(x, y, epochs=1, shuffle=False, verbose=0, **options)
        return weights(net)

    weighted = run(class_weight=table)
    for name, value in run(sample_weight=each).items():
        np.testing.assert_allclose(value, weighted[name], rtol=1e-6)
    assert not np.array_equal(weighted["0.weight"], run()["0.weight"])
    same(run(class_weight={0: 2.0}), run(class_weight={0: 2.0, 1: 1.0, 2: 1.0}))


def test_class_weights_of_one_hot_targets(net, blobs):
    x, y = blobs
    model = tn.Model(net)
    model.compile("sgd", "cross_entropy")
    start = weights(net)
    found = []
    for targets in (y, np.eye(3, dtype=np.float32)[y]):
        net.load_state_dict(start)
        history = model.fit(x, targets, class_weight={1: 3.0}, shuffle=False, verbose=0)
        found.append(history.history["loss"][0])
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    model.compile("sgd", lambda p, t: p.sum(1))
    with pytest.raises(ShapeError, match="one class for each sample"):
        model.fit(x, np.zeros((90, 2, 3), np.int64), class_weight={1: 3.0}, verbose=0)


def test_weights_need_a_loss_for_each_sample(net, blobs):
    x, y = blobs
    model = tn.Model(net)
    model.compile("sgd", lambda p, t: nn.functional.cross_entropy(p, t))
    with pytest.raises(ArgumentError, match="each sample"):
        model.fit(x, y, sample_weight=np.ones(90), verbose=0)
    model.compile("sgd", nn.CrossEntropyLoss())
    model.fit(x, y, sample_weight=np.ones(90), verbose=0)


# -- losses and optimizers by name --------------------------------------------------------------
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_by_name(name):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 3)).astype(np.float32)
    labels = rng.integers(0, 3, 6)
    hot = np.eye(3, dtype=np.float32)[labels]
    t, q = torch.tensor(logits), torch.tensor(labels)
    F = torch.nn.functional
    chances = t.softmax(1)
    cases = {
        "cross_entropy": (logits, labels, F.cross_entropy(t, q)),
        "nll": (t.log_softmax(1).numpy(), labels, F.cross_entropy(t, q)),
        "sparse_categorical_crossentropy": (
            chances.numpy(), labels[:, None], F.cross_entropy(t, q),
        ),
        "categorical_crossentropy": (chances.numpy(), hot, F.cross_entropy(t, q)),
        "binary_crossentropy": (
            t.sigmoid().numpy(), hot.astype(int),
            F.binary_cross_entropy_with_logits(t, torch.tensor(hot)),
        ),
        "binary_cross_entropy_with_logits": (
            logits, hot.astype(int), F.binary_cross_entropy_with_logits(t, torch.tensor(hot)),
        ),
        "mean_squared_error": (logits, hot, F.mse_loss(t, torch.tensor(hot))),
        "mean_absolute_error": (logits, hot, F.l1_loss(t, torch.tensor(hot))),
        "smooth_l1": (logits, hot, F.smooth_l1_loss(t, torch.tensor(hot))),
        "huber": (logits, hot, F.huber_loss(t, torch.tensor(hot))),
    }  # fmt: skip
    preds, target, expected = cases[name]
    model = tn.Model(nn.Identity())
    model.compile("sgd", name)
    assert model.evaluate(preds, target) == pytest.approx(expected.item(), rel=1e-5)
    once = np.zeros(6)
    once[2] = 6.0
    alone = model.evaluate(preds[2:3], target[2:3])
    assert model.evaluate(preds, target, sample_weight=once) == pytest.approx(alone, rel=1e-5)


def test_single_scores_take_flat_targets():
    x = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
    y = (x[:, 0] > 0.2).astype(np.int64)
    tn.manual_seed(0)
    net = nn.Linear(1, 1)
    model = tn.Model(net)
    model.compile(tn.optim.Adam(net.parameters(), lr=0.3), "bce_with_logits", ["acc", "auc"])
    history = model.fit(x, y, epochs=60, verbose=0)
    assert history.history["acc"][-1] > 0.9
    assert history.history["auc"][-1] == 1.0
    scores = model.predict(x)[:, 0]
    _, accuracy, _ = model.evaluate(x, y)
    assert accuracy == pytest.approx(((scores > 0) == (y == 1)).mean())


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [
        ("adam", tn.optim.Adam),
        ("adamw", tn.optim.AdamW),
        ("SGD", tn.optim.SGD),
        ("rmsprop", tn.optim.RMSprop),
        (tn.optim.AdamW, tn.optim.AdamW),
        (lambda params: tn.optim.SGD(params, lr=3.0), tn.optim.SGD),
    ],
)
def test_optimizers_by_name(optimizer, kind, net):
    model = tn.Model(net)
    model.compile(optimizer, "mse")
    assert type(model.optimizer) is kind
    assert model.optimizer.param_groups[0]["params"] == list(net.parameters())


def test_loss_modules_classes_and_functions(net, blobs):
    x, y = blobs
    found = []
    for loss in ("cross_entropy", nn.CrossEntropyLoss, nn.CrossEntropyLoss(),
                 nn.functional.cross_entropy):  # fmt: skip
        model = tn.Model(net)
        model.compile("sgd", loss)
        found.append(model.evaluate(x, y))
    assert len(set(found)) == 1


# -- subclasses ---------------------------------------------------------------------------------
def test_a_subclass_is_its_own_network(blobs):
    class Net(tn.Model):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(4, 3)

        def forward(self, x):
            return self.line(x)

        def compute_loss(self, x, y, y_pred, sample_weight=None):
            penalty = (self.line.weight**2).sum()
            return super().compute_loss(x, y, y_pred, sample_weight) + 0.1 * penalty

    net = Net()
    net.compile("adam", "cross_entropy")
    assert net.network is net
    assert list(net.state_dict()) == ["line.weight", "line.bias"]
    plain = tn.Model(net.line)
    plain.compile("adam", "cross_entropy")
    weight = net.line.weight.detach().numpy()
    difference = net.evaluate(*blobs) - plain.evaluate(*blobs)
    assert difference == pytest.approx(0.1 * (weight**2).sum(), rel=1e-4)


def test_training_step_and_configure_optimizers(blobs):
    class Light(tn.Model):
        def __init__(self):
            self.line = nn.Linear(4, 3)
            self.steps = []

        def forward(self, x):
            return self.line(x)

        def training_step(self, batch, index):
            x, y = batch
            self.steps.append(index)
            loss = nn.functional.cross_entropy(self(x), y)
            return {"loss": loss, "half": loss / 2}

        def validation_step(self, batch, index):
            x, y = batch
            return nn.functional.cross_entropy(self(x), y)

        def configure_optimizers(self):
            return tn.optim.SGD(self.parameters(), lr=0.1)

    net = Light()
    history = net.fit(*blobs, epochs=2, validation_data=blobs, verbose=0).history
    assert history["half"] == pytest.approx([v / 2 for v in history["loss"]])
    assert history["loss"][1] < history["loss"][0]
    assert net.steps == [0, 1, 2] * 2
    assert history["val_loss"][-1] == pytest.approx(net.evaluate(*blobs, return_dict=True)["loss"])
    assert set(history) == {"loss", "half", "val_loss"}, "each step logs what it returned"


@pytest.mark.parametrize(
    ("answer", "rates"),
    [
        (lambda o: [o], None),
        (lambda o: ([o], [lr_scheduler.ExponentialLR(o, 0.5)]), [0.1, 0.05]),
        (lambda o: {"optimizer": o, "lr_scheduler": lr_scheduler.ExponentialLR(o, 0.5)},
         [0.1, 0.05]),
        (lambda o: {"optimizer": o, "lr_scheduler": {
            "scheduler": lr_scheduler.StepLR(o, 3, 0.5), "interval": "step"}}, [0.05, 0.025]),
        (lambda o: {"optimizer": o, "lr_scheduler": {
            "scheduler": lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, mode="max"),
            "monitor": "loss"}}, [0.1, 0.1]),
    ],
)  # fmt: skip
def test_configure_optimizers_may_give_schedules(answer, rates, blobs):
    class Light(tn.Model):
        def __init__(self):
            self.line = nn.Linear(4, 3)

        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self.line(batch[0]), batch[1])

        def configure_optimizers(self):
            return answer(tn.optim.SGD(self.parameters(), lr=0.1))

    net = Light()
    history = net.fit(*blobs, epochs=2, verbose=0).history
    assert history.get("learning_rate") == (rates and pytest.approx(rates))


def test_configure_optimizers_gives_one_optimizer(blobs):
    class Two(tn.Model):
        def __init__(self):
            self.line = nn.Linear(4, 3)

        def configure_optimizers(self):
            return [tn.optim.SGD(self.parameters()) for _ in range(2)]

    with pytest.raises(ArgumentError, match="one optimizer"):
        Two().fit(*blobs, verbose=0)


# -- one batch, and mixing with plain loops -----------------------------------------------------
def test_train_on_batch_and_test_on_batch(model, blobs):
    x, y = blobs
    model.reset_metrics()
    first = model.test_on_batch(x, y, return_dict=True)
    model.reset_metrics()
    loss, accuracy = model.train_on_batch(x, y)
    assert {"loss": loss, "accuracy": accuracy} == pytest.approx(first)
    model.reset_metrics()
    assert model.test_on_batch(x, y)[0] < loss
    assert model.predict_on_batch(x).shape == (90, 3)


def test_a_plain_loop_goes_on_from_fit(model, net, blobs):
    x, y = tn.tensor(blobs[0]), tn.tensor(blobs[1])
    model.fit(x, y, epochs=1, verbose=0)
    before = model.evaluate(x, y)[0]
    for _ in range(5):
        model.optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        model.optimizer.step()
    assert model.evaluate(x, y)[0] < before


# -- modes and errors ---------------------------------------------------------------------------
class Watching(nn.Module):
    def __init__(self):
        self.line = nn.Linear(4, 3)
        self.drop = nn.Dropout(0.5)
        self.seen = []
        self.fail = False

    def forward(self, x):
        if self.fail:
            raise KeyboardInterrupt
        self.seen.append(self.training)
        return self.line(self.drop(x))


def test_modes_are_set_and_given_back(blobs):
    net = Watching()
    net.drop.eval()
    model = tn.Model(net)
    model.compile("sgd", "cross_entropy")
    model.fit(*blobs, batch_size=90, epochs=2, validation_data=blobs, verbose=0)
    assert net.seen == [True, False] * 2
    assert net.training
    assert not net.drop.training
    first, second = model.predict(blobs[0]), model.predict(blobs[0])
    np.testing.assert_array_equal(first, second)
    assert net.training


@pytest.mark.parametrize("where", ["on_train_batch_end", "on_test_begin", "on_epoch_end"])
def test_an_error_in_a_callback_leaves_the_model_sane(where, model, net, blobs):
    def fail(*_):
        raise RuntimeError("from a callback")

    told = []
    watch, bad = LambdaCallback(on_exception=told.append), LambdaCallback(**{where: fail})
    with pytest.raises(RuntimeError, match="from a callback"):
        model.fit(*blobs, validation_data=blobs, verbose=0, callbacks=[bad, watch])
    assert [str(e) for e in told] == ["from a callback"]
    assert all(m.training for m in model.modules())
    assert model.batch is None
    assert all(p.grad is None for p in net.parameters())
    assert model.fit(*blobs, verbose=0).history["loss"]


def test_an_interrupt_in_forward_leaves_the_model_sane(blobs):
    net = Watching()
    model = tn.Model(net)
    model.compile("sgd", "cross_entropy")
    model.fit(*blobs, verbose=0)
    before = weights(net)
    net.fail = True
    net.eval()
    with pytest.raises(KeyboardInterrupt):
        model.fit(*blobs, verbose=0)
    assert not net.training
    same(weights(net), before)
    net.fail = False
    model.fit(*blobs, verbose=0)


def test_bad_labels_name_the_fault_and_change_nothing(model, net, blobs):
    x, y = blobs
    model.fit(x, y, verbose=0)
    before = weights(net)
    with pytest.raises(LabelError):
        model.fit(x, y + 1, batch_size=90, verbose=0)
    same(weights(net), before)


@pytest.mark.parametrize(
    ("act", "error", "match"),
    [
        (lambda m, x, y: tn.Model(nn.Linear(4, 3)).fit(x, y), ArgumentError, "compiled first"),
        (lambda m, x, y: m.fit(x, y[:5]), ShapeError, "one length"),
        (lambda m, x, y: m.fit(x), ArgumentError, "targets"),
        (lambda m, x, y: m.fit(iter([])), ArgumentError, "a batch"),
        (lambda m, x, y: m.fit(Points((x, y)), y), ArgumentError, "itself"),
        (lambda m, x, y: m.fit(x, y, callbacks=[print]), ArgumentError, "Callback"),
        (lambda m, x, y: m.fit(x, y, validation_data=(x,)), ArgumentError, "validation_data"),
        (lambda m, x, y: m.compile("adamm", "mse"), ArgumentError, "'adamm'"),
        (lambda m, x, y: m.compile("adam", "msee"), ArgumentError, "'msee'"),
        (lambda m, x, y: m.compile("adam", []), ArgumentError, r"loss=\[\]"),
        (lambda m, x, y: m.compile("adam", {}), ArgumentError, "loss={}"),
        (lambda m, x, y: m.fit(x, y, class_weight={}), ArgumentError, "class_weight={}"),
        (lambda m, x, y: m.fit(x, y, class_weight={0: 2.0, -1: 3.0}), ArgumentError, "-1: 3.0"),
        (lambda m, x, y: m.fit(x, y, validation_freq=0), ArgumentError, "validation_freq=0"),
        (lambda m, x, y: m.fit(x, y, validation_freq=1.5), ArgumentError, "validation_freq=1.5"),
        (lambda m, x, y: m.fit(x, y, validation_freq=[0, 1]), ArgumentError, "from 1"),
        (lambda m, x, y: m.compile("adam", "mse", ["a"]), ArgumentError, "'a'"),
        (lambda m, x, y: m.compile("adam", "mse", ["mae", "mae"]), ArgumentError, "of its own"),
        (lambda m, x, y: m.fit(iter([(x, y, y, y)])), ArgumentError, "4 parts"),
        (lambda m, x, y: m.fit(x, y, batch_size=0), ArgumentError, "batch_size"),
        (lambda m, x, y: m.fit([[1.0], [1.0, 2.0]], [0, 1]), ShapeError, "one shape"),
        (lambda m, x, y: m.evaluate(x[:0], y[:0]), ArgumentError, "a batch"),
        (lambda m, x, y: m.fit(x, y.astype(np.float32)), ShapeError, "class numbers|probabilities"),
        (lambda m, x, y: _without_parameters().fit(x, y), ArgumentError, "parameters"),
    ],
)
def test_mistakes_are_named(act, error, match, model, blobs):
    with pytest.raises(error, match=match):
        act(model, *blobs)


def _without_parameters():
    model = tn.Model(nn.Identity())
    model.compile("adam", "mse")
    return model


def test_stop_training_ends_after_the_batch(model, blobs):
    batches = []

    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            batches.append(batch)
            self.model.stop_training = batch == 1

    history = model.fit(*blobs, batch_size=16, epochs=3, verbose=0, callbacks=[Stop()])
    assert batches == [0, 1]
    assert history.epoch == [0]


# -- summary and weights ------------------------------------------------------------------------
def test_summary_shows_shapes_and_counts_and_computes_nothing():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
    )
    net[0].weight.requires_grad_(False)
    model = tn.Model(net)
    runs = counts["flushes"]
    shown = []
    model.summary((None, 1, 8, 8), print_fn=shown.append)
    assert counts["flushes"] == runs
    text = shown[0]
    assert "0 (Conv2d)" in text
    assert "(1, 4, 6, 6)" in text or "(batch, 4, 6, 6)" in text
    found = model.summarize((2, 1, 8, 8))
    assert [row.parameters for row in found.rows] == [40, 8, 0, 0, 1450]
    assert found.rows[-1].shape == "(batch, 10)"
    assert (found.total, found.trainable, found.frozen) == (1498, 1462, 36)
    assert not model.network[1].running_mean.numpy().any()
    assert net.training


def test_summary_without_an_input_and_after_use(model, blobs, capsys):
    assert model.summarize().rows[0].shape == "?"
    model.predict(blobs[0])
    assert model.summarize().rows[-1].shape == "(batch, 3)"
    model.summary()
    out = capsys.readouterr().out
    assert "Total params: 67" in out


def test_weights_round_trip(model, net, blobs, tmp_path):
    path = tmp_path / "w.safetensors"
    model.save_weights(path)
    other = make_net(9)
    fresh = tn.Model(other)
    assert not np.array_equal(fresh.predict(blobs[0]), model.predict(blobs[0]))
    fresh.load_weights(path)
    np.testing.assert_array_equal(fresh.predict(blobs[0]), model.predict(blobs[0]))
    wrong = tn.Model(nn.Linear(4, 3))
    with pytest.raises(ArgumentError, match="names"):
        wrong.load_weights(path)
    net.load_state_dict(tn.load(path))


def test_save_whole_model(model, blobs, tmp_path):
    path = tmp_path / "model.tnr"
    model.predict(blobs[0])
    model.save(path)
    loaded = tn.load(path)
    answer = loaded(tn.tensor(blobs[0]))
    np.testing.assert_array_equal(answer.numpy(), model.predict(blobs[0], batch_size=90))
