"""Callbacks: when they are called, and what each of them does."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.engine.flush import counts
from tenor.errors import ArgumentError
from tenor.optim import lr_scheduler
from tenor.train import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ProgressBar,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from tenor.train.callback import MOMENTS


class Written(Callback):
    """Give the logs another metric, as if validation had said so."""

    def __init__(self, values, name="val_loss"):
        self.values = values
        self.name = name

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]


class Recorder(Callback):
    def __init__(self):
        self.calls = []


def _note(name):
    def method(self, *args):
        self.calls.append((name, *args[:-1]))

    return method


for moment in MOMENTS:
    if moment != "on_exception":
        setattr(Recorder, moment, _note(moment))


def weights(model):
    return [p.detach().numpy().copy() for p in model.parameters()]


def fit(model, blobs, callbacks, epochs=1, **options):
    return model.fit(*blobs, epochs=epochs, verbose=0, callbacks=callbacks, **options)


# -- the moments --------------------------------------------------------------------------------
def test_moments_come_in_keras_order(model, blobs):
    seen = Recorder()
    model.fit(*blobs, epochs=1, verbose=0, callbacks=seen)
    assert seen.calls.pop() == ("on_train_end",), "one callback needs no list"
    seen.calls.clear()
    fit(model, blobs, [seen], batch_size=60, validation_data=blobs, validation_batch_size=90)
    assert seen.calls == [
        ("on_train_begin",),
        ("on_epoch_begin", 0),
        ("on_train_batch_begin", 0),
        ("on_train_batch_end", 0),
        ("on_train_batch_begin", 1),
        ("on_train_batch_end", 1),
        ("on_test_begin",),
        ("on_test_batch_begin", 0),
        ("on_test_batch_end", 0),
        ("on_test_end",),
        ("on_epoch_end", 0),
        ("on_train_end",),
    ]
    assert seen.model is model
    assert seen.params == {"epochs": 1, "steps": 2, "verbose": 0}


def test_evaluate_tells_of_an_error(model, blobs):
    class Fails(Callback):
        error = None

        def on_test_batch_end(self, batch, logs=None):
            raise KeyError("lost")

        def on_exception(self, error):
            self.error = error

    fails = Fails()
    with pytest.raises(KeyError):
        model.evaluate(*blobs, callbacks=[fails])
    assert isinstance(fails.error, KeyError)


def test_moments_of_evaluate_and_predict(model, blobs):
    seen = Recorder()
    model.evaluate(*blobs, batch_size=90, callbacks=[seen])
    model.predict(blobs[0], batch_size=90, callbacks=[seen])
    assert [call[0] for call in seen.calls] == [
        "on_test_begin", "on_test_batch_begin", "on_test_batch_end", "on_test_end",
        "on_predict_begin", "on_predict_batch_begin", "on_predict_batch_end", "on_predict_end",
    ]  # fmt: skip


def test_logs_of_batches_are_means_so_far_and_read_only_when_looked_at(model, blobs):
    seen = []
    fit(model, blobs, [LambdaCallback(on_train_batch_end=lambda b, logs: seen.append(dict(logs)))],
        batch_size=30)  # fmt: skip
    assert [set(logs) for logs in seen] == [{"loss", "accuracy"}] * 3
    assert all(isinstance(v, float) for logs in seen for v in logs.values())
    before = counts["flushes"]
    fit(model, blobs, [LambdaCallback(on_train_batch_end=lambda b, logs: None)], batch_size=30)
    quiet = counts["flushes"] - before
    before = counts["flushes"]
    fit(model, blobs, [LambdaCallback(on_train_batch_end=lambda b, logs: logs["loss"])],
        batch_size=30)  # fmt: skip
    assert counts["flushes"] - before == quiet + 3


def test_callbacks_see_what_earlier_ones_wrote(model, blobs):
    history = fit(model, blobs, [Written([5.0, 6.0], "mine")], epochs=2)
    assert history.history["mine"] == [5.0, 6.0]


def test_lambda_callback_refuses_unknown_moments():
    with pytest.raises(ArgumentError, match="on_epoch_finish"):
        LambdaCallback(on_epoch_finish=print)


# -- stopping -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "values", "epochs"),
    [
        ({"patience": 0}, [3, 2, 2, 1], 3),
        ({"patience": 2}, [3, 2, 2.5, 2.1, 1], 4),
        ({"patience": 1, "min_delta": 0.5}, [3, 2.7, 1], 2),
        ({"patience": 1, "mode": "max"}, [1, 2, 1, 5], 3),
        ({"patience": 1, "start_from_epoch": 3}, [1, 2, 3, 4, 5, 6], 5),
        ({"patience": 2, "baseline": 1.0}, [3, 2, 2.5, 0.5], 3),
        ({"patience": 9}, [3, 2, 1], 3),
    ],
)
def test_early_stopping(options, values, epochs, model, blobs):
    stop = EarlyStopping(**options)
    history = fit(model, blobs, [Written(values), stop], epochs=len(values))
    assert len(history.epoch) == epochs


@pytest.mark.parametrize(
    "make",
    [EarlyStopping, ReduceLROnPlateau, lambda: ModelCheckpoint("w.tnr", save_best_only=True)],
)
def test_a_metric_that_never_comes_is_told_of(make, model, blobs):
    with pytest.warns(UserWarning, match="'val_loss', and there was no validation") as caught:
        fit(model, blobs, [make()])
    assert caught[0].filename == __file__


def test_a_metric_validation_does_not_have_is_refused(model, blobs):
    with pytest.raises(ArgumentError, match="metric 'val_acc'"):
        fit(model, blobs, [EarlyStopping("val_acc")], validation_data=blobs)


def test_early_stopping_restores_the_best_weights(blobs):
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    model = tn.Model(net)
    model.compile("adam", "cross_entropy")
    kept = []

    def keep(epoch, logs):
        kept.append([np.array(v.detach().numpy()) for v in net.state_dict().values()])

    stop = EarlyStopping(patience=2, restore_best_weights=True)
    fit(model, blobs, [Written([3, 1, 2, 2, 0]), LambdaCallback(on_epoch_end=keep), stop], epochs=5)
    assert stop.best_epoch == 1
    assert stop.stopped_epoch == 3
    assert stop.best == 1
    for found, wanted, last in zip(net.state_dict().values(), kept[1], kept[3], strict=True):
        np.testing.assert_array_equal(found.detach().numpy(), wanted)
        assert not np.array_equal(wanted, last)
    history = fit(model, blobs, [Written([3, 2]), stop], epochs=2)
    assert len(history.epoch) == 2


def test_early_stopping_restores_also_where_nothing_stopped(model, blobs):
    kept = []
    keep = LambdaCallback(on_epoch_end=lambda e, logs: kept.append(weights(model)))
    stop = EarlyStopping(patience=5, restore_best_weights=True)
    fit(model, blobs, [Written([1, 2, 3]), keep, stop], epochs=3)
    for found, wanted in zip(weights(model), kept[0], strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_auto_mode_goes_by_the_name(model, blobs):
    stop = EarlyStopping("val_accuracy", patience=1)
    history = fit(model, blobs, [Written([0.1, 0.2, 0.3, 0.2], "val_accuracy"), stop], epochs=4)
    assert len(history.epoch) == 4
    with pytest.raises(ArgumentError, match="'sharpness'"):
        fit(model, blobs, [EarlyStopping("sharpness")])
    with pytest.raises(ArgumentError, match="mode"):
        EarlyStopping(mode="up")


def test_terminate_on_nan(blobs):
    net = nn.Linear(4, 3)
    model = tn.Model(net)
    model.compile(tn.optim.SGD(net.parameters(), lr=1e30), "mse")
    target = np.zeros((90, 3), np.float32)
    done = []
    count = LambdaCallback(on_train_batch_end=lambda b, logs: done.append(b))
    model.fit(blobs[0], target, batch_size=8, verbose=0, callbacks=[count, TerminateOnNaN()])
    assert len(done) < 11


# -- the learning rate --------------------------------------------------------------------------
def test_scheduler_by_function(model, blobs):
    history = fit(model, blobs, [LearningRateScheduler(lambda e, lr: lr * 0.5)], epochs=3)
    assert history.history["learning_rate"] == pytest.approx([0.05, 0.025, 0.0125])
    history = fit(model, blobs, [LearningRateScheduler(lambda e: 0.1 / (e + 1))], epochs=2)
    assert history.history["learning_rate"] == pytest.approx([0.1, 0.05])


def test_scheduler_by_schedule(model, blobs):
    epochs = lr_scheduler.ExponentialLR(model.optimizer, 0.5)
    history = fit(model, blobs, [LearningRateScheduler(epochs)], epochs=3)
    assert history.history["learning_rate"] == pytest.approx([0.1, 0.05, 0.025])
    batches = lr_scheduler.ExponentialLR(model.optimizer, 0.5)
    fit(model, blobs, [LearningRateScheduler(batches, every="batch")], batch_size=30)
    assert model.optimizer.param_groups[0]["lr"] == pytest.approx(0.0125 * 0.125)
    with pytest.raises(ArgumentError):
        LearningRateScheduler(epochs, every="second")


def test_changing_the_rate_compiles_nothing(model, blobs):
    fit(model, blobs, [])
    plans = counts["plans"]
    fit(model, blobs, [LearningRateScheduler(lambda e, lr: lr * 0.9)], epochs=3)
    assert counts["plans"] == plans


@pytest.mark.parametrize(
    ("options", "values", "rates"),
    [
        ({"patience": 1, "factor": 0.5}, [3, 2, 2, 2, 1], [0.1, 0.1, 0.1, 0.05, 0.025]),
        ({"patience": 2, "factor": 0.5}, [3, 3, 3, 3, 3], [0.1, 0.1, 0.1, 0.05, 0.05]),
        ({"patience": 1, "factor": 0.1, "min_lr": 0.05}, [1, 1, 1], [0.1, 0.1, 0.05]),
        ({"patience": 1, "factor": 0.5, "cooldown": 2}, [1] * 5, [0.1, 0.1, 0.05, 0.05, 0.025]),
    ],
)
def test_reduce_on_plateau(options, values, rates, model, blobs):
    reduce = ReduceLROnPlateau(**options)
    history = fit(model, blobs, [Written(values), reduce], epochs=len(values))
    assert history.history["learning_rate"] == pytest.approx(rates)


# -- files --------------------------------------------------------------------------------------
def test_checkpoint_every_epoch_by_name(model, blobs, tmp_path):
    path = tmp_path / "deep" / "w-{epoch:02d}-{val_loss:.2f}.safetensors"
    fit(model, blobs, [Written([1.5, 0.25]), ModelCheckpoint(path)], epochs=2)
    names = sorted(p.name for p in path.parent.iterdir())
    assert names == ["w-01-1.50.safetensors", "w-02-0.25.safetensors"]
    state = tn.load(path.parent / names[1])
    for name, value in model.network.state_dict().items():
        np.testing.assert_array_equal(state[name].numpy(), value.numpy())


def test_checkpoint_keeps_the_best(model, blobs, tmp_path):
    path = tmp_path / "best.safetensors"
    kept = []
    keep = LambdaCallback(on_epoch_end=lambda e, logs: kept.append(weights(model)))
    checkpoint = ModelCheckpoint(path, save_best_only=True)
    fit(model, blobs, [Written([3, 1, 2]), keep, checkpoint], epochs=3)
    assert checkpoint.watch.best == 1
    model.load_weights(path)
    for found, wanted in zip(weights(model), kept[1], strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_checkpoint_of_whole_models_and_by_batches(model, blobs, tmp_path):
    path = tmp_path / "model-{epoch}.tnr"
    fit(model, blobs, [ModelCheckpoint(tmp_path / "w{batch}.safetensors", save_freq=2)])
    assert [p.name for p in tmp_path.iterdir()] == ["w2.safetensors"]
    (tmp_path / "w2.safetensors").unlink()
    checkpoint = ModelCheckpoint(path, save_freq=2)
    fit(model, blobs, [checkpoint], batch_size=30, epochs=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model-1.tnr", "model-2.tnr"]
    loaded = tn.load(checkpoint.last_path)
    answer = loaded(tn.tensor(blobs[0])).numpy()
    np.testing.assert_array_equal(answer, model.predict(blobs[0], batch_size=90))


@pytest.mark.parametrize(
    "options",
    [
        {"filepath": "w.h5"},
        {"filepath": "w.tnr", "save_weights_only": True},
        {"filepath": "w.tnr", "save_freq": "hour"},
    ],
)
def test_checkpoint_refuses_what_it_cannot_write(options):
    with pytest.raises(ArgumentError):
        ModelCheckpoint(**options)


def test_checkpoint_names_the_metrics_there_are(model, blobs, tmp_path):
    with pytest.raises(ArgumentError, match="epoch, batch, loss, accuracy"):
        fit(model, blobs, [ModelCheckpoint(tmp_path / "{val_acc}.tnr")])


def test_csv_logger(model, blobs, tmp_path):
    path = tmp_path / "log.csv"
    fit(model, blobs, [CSVLogger(path)], epochs=2)
    fit(model, blobs, [CSVLogger(path, append=True)], epochs=3, initial_epoch=2)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert float(rows[2]["loss"]) < float(rows[0]["loss"])
    assert set(rows[0]) == {"epoch", "loss", "accuracy"}


# -- TensorBoard --------------------------------------------------------------------------------
def events(path):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    found = event_accumulator.EventAccumulator(
        str(path), {"histograms": 0, "images": 0, "scalars": 0, "tensors": 0}
    )
    found.Reload()
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_what_was_written(tmp_path):
    x_train, y_train, x_test, y_test = tn.data.load_digits()
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    model = tn.Model(net)
    model.compile("adam", "cross_entropy", ["accuracy"])
    history = model.fit(
        x_train[:200], y_train[:200], epochs=2, verbose=0, validation_data=(x_test, y_test),
        callbacks=[TensorBoard(tmp_path, update_freq=3)],
    ).history  # fmt: skip
    train, validation = events(tmp_path / "train"), events(tmp_path / "validation")
    for run, tag, values in [
        (train, "epoch_loss", history["loss"]),
        (train, "epoch_accuracy", history["accuracy"]),
        (validation, "epoch_loss", history["val_loss"]),
        (validation, "epoch_accuracy", history["val_accuracy"]),
        (train, "epoch_learning_rate", [1e-3, 1e-3]),
    ]:
        assert [s.value for s in run.Scalars(tag)] == pytest.approx(values, rel=1e-5)
        assert [s.step for s in run.Scalars(tag)] == [0, 1]
    assert [s.step for s in train.Scalars("batch_loss")] == [3, 6, 9, 12]
    weight = train.Histograms("weights/1.weight")[-1].histogram_value
    assert weight.num == 640
    assert weight.sum == pytest.approx(net[1].weight.detach().numpy().sum(), rel=1e-3, abs=1e-3)
    image = train.Images("samples")[0]
    assert (image.width, image.height) == (35, 35)
    assert "model/text_summary" in train.Tags()["tensors"] or train.Tags()["tensors"]


def test_tensorboard_files_are_closed_after_an_error(model, blobs, tmp_path):
    def fail(*_):
        raise RuntimeError("broken off")

    board = TensorBoard(tmp_path)
    with pytest.raises(RuntimeError):
        fit(model, blobs, [board, LambdaCallback(on_epoch_end=fail)])
    assert board.writers == {}
    assert len(events(tmp_path / "train").Scalars("epoch_loss")) == 1
    with pytest.raises(ArgumentError):
        TensorBoard(tmp_path, update_freq="second")


# -- the progress bar ---------------------------------------------------------------------------
class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_where_there_is_no_terminal(model, blobs):
    out = io.StringIO()
    fit(model, blobs, [ProgressBar(out)], epochs=2, validation_data=blobs)
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2  ")
    for part in ("loss: ", "accuracy: ", "val_loss: ", "val_accuracy: "):
        assert part in lines[1]
    assert "\r" not in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_a_bar_in_a_terminal(model, blobs, monkeypatch):
    monkeypatch.setattr("tenor.train.progress.EVERY", 0.0)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm-256color")
    out = Terminal()
    fit(model, blobs, [ProgressBar(out)], epochs=2, batch_size=30)
    text = out.getvalue()
    assert text.count("\n") == 2
    assert text.count("\r") >= 2 * 4
    assert "1/3" in text
    assert "3/3" in text
    assert "epoch 2/2" in text
    assert "loss: " in text


def test_a_line_begins_after_an_error(model, blobs):
    def fail(*_):
        raise RuntimeError("in the middle")

    out = Terminal()
    with pytest.raises(RuntimeError):
        fit(model, blobs, [ProgressBar(out), LambdaCallback(on_train_batch_end=fail)])
    assert out.getvalue().endswith("\n")


def test_evaluate_and_predict_show_themselves_when_asked(model, blobs, capsys):
    model.evaluate(*blobs)
    model.predict(blobs[0])
    assert capsys.readouterr().out == ""
    model.evaluate(*blobs, verbose=1)
    out = capsys.readouterr().out
    assert "loss: " in out
    assert "epoch" not in out
    model.predict(blobs[0], verbose=1)
    assert capsys.readouterr().out.endswith("s\n")


def test_verbose_levels(model, blobs, capsys):
    model.fit(*blobs, epochs=2, verbose=0)
    assert capsys.readouterr().out == ""
    model.fit(*blobs, epochs=2, verbose=2)
    assert len(capsys.readouterr().out.splitlines()) == 2
    model.fit(*blobs, epochs=2)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_numbers_are_short():
    from tenor.train.progress import _numbers

    assert _numbers({"a": 0.12345678, "b": 1e-9, "c": 0.0, "d": np.zeros(3), "e": math.inf}) == [
        "a: 0.1235", "b: 1.000e-09", "c: 0.0000", "e: inf",
    ]  # fmt: skip
