"""Metrics against formulas in NumPy, batch by batch, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest

import tenor as tn
from tenor import metrics as m
from tenor.engine.flush import counts
from tenor.errors import ArgumentError, LabelError, ShapeError

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 50)
SCORES = RNG.normal(size=(50, 4)).astype(np.float32)
CHANCES = RNG.random(50).astype(np.float32)
YES = (CHANCES + RNG.normal(scale=0.4, size=50) > 0.5).astype(np.int64)
WEIGHTS = RNG.random(50)
CUTS = [(0, 13), (13, 14), (14, 50)]
KINDS = {"numpy": lambda a: a, "tensor": tn.tensor}


def fed(metric, preds, target, kind="tensor", weights=None):
    make = KINDS[kind]
    for a, b in CUTS:
        w = None if weights is None else make(weights[a:b])
        metric.update(make(preds[a:b]), make(target[a:b]), w)
    return metric.compute()


def matrix(got, true, classes):
    cells = np.zeros((classes, classes), np.int64)
    np.add.at(cells, (true, got), 1)
    return cells


CELLS = matrix(SCORES.argmax(1), LABELS, 4)
SAID = CHANCES > 0.5
TP, FP, FN = (SAID & (YES == 1)).sum(), (SAID & (YES == 0)).sum(), (~SAID & (YES == 1)).sum()
HITS = np.diag(CELLS)
ONE_HOT = np.eye(4, dtype=np.float32)[LABELS]
PRECISIONS = HITS / CELLS.sum(0)
RECALLS = HITS / CELLS.sum(1)
F1S = 2 * HITS / (CELLS.sum(0) + CELLS.sum(1))
RIGHT = SCORES.argmax(1) == LABELS
TOP2 = (np.argsort(-SCORES, 1)[:, :2] == LABELS[:, None]).any(1)
X, Y = SCORES[:, 0], SCORES[:, 1]
FOUND, TRUE = SCORES[:, :2], SCORES[:, 2:]
R2S = 1 - ((FOUND - TRUE) ** 2).sum(0) / ((TRUE - TRUE.mean(0)) ** 2).sum(0)

CASES = {
    "accuracy-labels": (lambda: m.Accuracy(), SCORES, LABELS, RIGHT.mean()),
    "accuracy-one-hot": (lambda: m.Accuracy(), SCORES, ONE_HOT, RIGHT.mean()),
    "accuracy-binary": (lambda: m.Accuracy(), CHANCES, YES, ((CHANCES > 0.5) == YES).mean()),
    "accuracy-logits": (
        lambda: m.Accuracy(from_logits=True), CHANCES - 0.5, YES, ((CHANCES > 0.5) == YES).mean(),
    ),
    "accuracy-one-column": (
        lambda: m.Accuracy(), CHANCES[:, None], YES, ((CHANCES > 0.5) == YES).mean(),
    ),
    "accuracy-hard": (lambda: m.Accuracy(), SCORES.argmax(1), LABELS, RIGHT.mean()),
    "binary": (lambda: m.BinaryAccuracy(0.3), CHANCES, YES, ((CHANCES > 0.3) == YES).mean()),
    "categorical": (lambda: m.CategoricalAccuracy(), SCORES, ONE_HOT, RIGHT.mean()),
    "sparse": (lambda: m.SparseCategoricalAccuracy(), SCORES, LABELS[:, None], RIGHT.mean()),
    "sparse-ignoring": (
        lambda: m.SparseCategoricalAccuracy(2), SCORES, LABELS, RIGHT[LABELS != 2].mean(),
    ),
    "top-2": (lambda: m.TopKAccuracy(2), SCORES, LABELS, TOP2.mean()),
    "top-9-of-4": (lambda: m.TopKAccuracy(9), SCORES, LABELS, 1.0),
    "mse": (lambda: m.MeanSquaredError(), X, Y, ((X - Y) ** 2).mean()),
    "rmse": (lambda: m.RootMeanSquaredError(), X, Y, np.sqrt(((X - Y) ** 2).mean())),
    "mae": (lambda: m.MeanAbsoluteError(), X, Y, np.abs(X - Y).mean()),
    "r2": (lambda: m.R2Score(), X, Y, 1 - ((X - Y) ** 2).sum() / ((Y - Y.mean()) ** 2).sum()),
    "r2-outputs": (
        lambda: m.R2Score(), FOUND, TRUE,
        R2S.mean(),
    ),
    "precision": (lambda: m.Precision(), CHANCES, YES, TP / (TP + FP)),
    "recall": (lambda: m.Recall(), CHANCES, YES, TP / (TP + FN)),
    "f1": (lambda: m.F1(), CHANCES, YES, 2 * TP / (2 * TP + FP + FN)),
    "precision-macro": (lambda: m.Precision(4), SCORES, LABELS, PRECISIONS.mean()),
    "recall-each": (lambda: m.Recall(4, "none"), SCORES, LABELS, RECALLS),
    "f1-weighted": (
        lambda: m.F1(4, "weighted"), SCORES, LABELS, (F1S * CELLS.sum(1)).sum() / 50,
    ),
    "f1-micro": (lambda: m.F1(4, "micro"), SCORES, ONE_HOT, RIGHT.mean()),
    "confusion": (lambda: m.ConfusionMatrix(4), SCORES, LABELS, CELLS),
    "confusion-true": (
        lambda: m.ConfusionMatrix(4, "true"), SCORES.argmax(1), LABELS,
        CELLS / CELLS.sum(1, keepdims=True),
    ),
    "confusion-all": (lambda: m.ConfusionMatrix(4, "all"), SCORES, LABELS, CELLS / 50),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_matches_the_formula(case, kind):
    make, preds, target, expected = CASES[case]
    metric = make()
    for _ in range(2):
        found = fed(metric, preds, target, kind)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
        metric.reset()


@pytest.mark.parametrize(
    ("make", "preds", "target", "values"),
    [
        (m.Accuracy, SCORES, LABELS, RIGHT),
        (m.MeanSquaredError, X, Y, (X - Y) ** 2),
        (m.MeanAbsoluteError, X, Y, np.abs(X - Y)),
    ],
)
def test_weights(make, preds, target, values):
    found = fed(make(), preds, target, weights=WEIGHTS)
    assert found.item() == pytest.approx((values * WEIGHTS).sum() / WEIGHTS.sum(), rel=1e-6)
    with pytest.raises(ShapeError, match="one weight"):
        make().update(tn.tensor(preds), tn.tensor(target), WEIGHTS[:3])


def test_weighted_precision():
    found = fed(m.Precision(), CHANCES, YES, weights=WEIGHTS)
    assert found.item() == pytest.approx(WEIGHTS[SAID & (YES == 1)].sum() / WEIGHTS[SAID].sum())


# -- AUC ----------------------------------------------------------------------------------------
def pairs(scores, yes, weights):
    """Return the chance that a positive scores above a negative, pair by pair."""
    p, n = scores[yes == 1], scores[yes == 0]
    w = np.outer(weights[yes == 1], weights[yes == 0])
    won = (p[:, None] > n) + 0.5 * (p[:, None] == n)
    return (won * w).sum() / w.sum()


def average_precision(scores, yes):
    total, seen = 0.0, 0
    for cut in np.unique(scores)[::-1]:
        said = scores >= cut
        hits = (said & (yes == 1)).sum()
        total += (hits - seen) * hits / said.sum()
        seen = hits
    return total / yes.sum()


@pytest.mark.parametrize("scores", [CHANCES, np.round(CHANCES, 1)])
def test_auc_is_exact(scores):
    assert fed(m.AUC(), scores, YES).item() == pytest.approx(pairs(scores, YES, np.ones(50)))
    assert fed(m.AUC(), scores, YES, weights=WEIGHTS).item() == pytest.approx(
        pairs(scores, YES, WEIGHTS)
    )
    assert fed(m.AUC(curve="PR"), scores, YES).item() == pytest.approx(
        average_precision(scores, YES)
    )


@pytest.mark.parametrize("curve", ["ROC", "PR"])
def test_auc_at_thresholds_is_near(curve):
    exact = fed(m.AUC(curve=curve), CHANCES, YES).item()
    auc = m.AUC(2000, curve)
    for _ in range(2):
        assert fed(auc, CHANCES, YES).item() == pytest.approx(exact, abs=5e-3)
        auc.reset()
    logits = np.log(CHANCES / (1 - CHANCES))
    near = fed(m.AUC(2000, curve, from_logits=True), logits, YES).item()
    assert near == pytest.approx(exact, abs=5e-3)


def test_auc_of_one_class_is_zero():
    assert m.AUC()([0.1, 0.2], [0, 0]).item() == 0.0
    assert m.AUC()([0.1, 0.2], [1, 1]).item() == 0.0
    assert m.AUC().compute().item() == 0.0


# -- means --------------------------------------------------------------------------------------
def test_mean_of_values_and_functions():
    mean = m.Mean()
    mean.update(tn.tensor([1.0, 2.0]), sample_weight=tn.tensor([3.0, 1.0]))
    mean.update(7.0)
    assert mean.compute().item() == pytest.approx((3 + 2 + 7) / 5)

    def distance(preds, target):
        return (preds - target).abs()

    assert fed(m.get(distance), X, Y).item() == pytest.approx(np.abs(X - Y).mean(), rel=1e-6)
    assert m.get(distance).name == "distance"
    whole = m.MeanOf(lambda p, t: (p - t).abs().mean())
    assert fed(whole, X, Y).item() == pytest.approx(np.abs(X - Y).mean(), rel=1e-6)


def test_nothing_counted_is_zero():
    for make in (m.Accuracy, m.MeanSquaredError, m.Precision, m.F1, m.Mean):
        assert make().compute().item() == 0.0


def test_segmentation_scores_have_classes_in_dim_1():
    scores = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
    labels = RNG.integers(0, 3, (2, 4, 5))
    found = m.Accuracy()(scores, labels).item()
    assert found == pytest.approx((scores.argmax(1) == labels).mean())
    cells = m.ConfusionMatrix(3)(scores, labels).numpy()
    np.testing.assert_array_equal(cells, matrix(scores.argmax(1).ravel(), labels.ravel(), 3))


# -- what it costs ------------------------------------------------------------------------------
def test_updates_run_nothing_and_join_the_step():
    w = tn.tensor(SCORES[:4], requires_grad=True)
    opt = tn.optim.SGD([w], lr=0.1)
    x, y = tn.tensor(SCORES), tn.tensor(LABELS)
    metrics = [m.Accuracy(), m.F1(4), m.ConfusionMatrix(4), m.TopKAccuracy(2)]
    loss_mean = m.Mean()
    plans = []
    for epoch in range(3):
        for _ in range(3):
            flushes = counts["flushes"]
            opt.zero_grad()
            preds = x @ w
            loss = (preds * preds).mean()
            loss.backward()
            for metric in metrics:
                metric.update(preds, y)
            loss_mean.update(loss)
            opt.step()
            assert counts["flushes"] == flushes + 1
        plans.append(counts["plans"])
        assert [metric.compute().numpy() is not None for metric in metrics] == [True] * 4
        for metric in (*metrics, loss_mean):
            metric.reset()
        if epoch:
            assert plans[-1] - plans[0] <= 12  # reading and resetting; the step itself is known
    assert metrics[2].compute().sum().item() == 0


def test_step_after_reset_is_the_same_plan():
    metric = m.Accuracy()
    x, y = tn.tensor(SCORES), tn.tensor(LABELS)
    seen = []
    for _ in range(4):
        for _ in range(2):
            metric.update(x, y)
            metric.total.materialize()
        metric.reset()
        seen.append(counts["plans"])
    assert seen[1] == seen[-1]


def test_a_reset_forgets_how_many_outputs_there_were():
    metric = m.R2Score()
    metric.update(FOUND[:, :1], TRUE[:, :1])
    metric.reset()
    assert metric.compute().item() == 0.0
    metric.update(FOUND, TRUE)
    assert metric.compute().item() == pytest.approx(R2S.mean())


def test_compiled_update_counts_every_batch():
    metric = m.Accuracy()
    update = tn.compile(lambda x, y: metric.update(x, y))
    for a in range(0, 50, 10):
        update(tn.tensor(SCORES[a : a + 10]), tn.tensor(LABELS[a : a + 10]))
    assert metric.compute().item() == pytest.approx(RIGHT.mean())
    metric.reset()
    update(tn.tensor(SCORES[:10]), tn.tensor(LABELS[:10]))
    assert metric.compute().item() == pytest.approx(RIGHT[:10].mean())
    assert update.recordings == 1


def test_counts_made_in_a_compiled_update_are_kept():
    metric = m.R2Score()
    update = tn.compile(lambda x, y: metric.update(x, y))
    for a in range(0, 50, 10):
        update(tn.tensor(FOUND[a : a + 10]), tn.tensor(TRUE[a : a + 10]))
    assert metric.compute().item() == pytest.approx(R2S.mean())
    metric.reset()
    for a in range(0, 50, 10):
        update(tn.tensor(FOUND[a : a + 10]), tn.tensor(TRUE[a : a + 10]))
    assert metric.compute().item() == pytest.approx(R2S.mean())


# -- names and bad input ------------------------------------------------------------------------
@pytest.mark.parametrize("name", [*m.NAMES, "acc", "mse", "mae", "rmse", "top_3_accuracy"])
def test_every_name_makes_a_metric_of_that_name(name):
    metric = m.get(name)
    assert isinstance(metric, m.Metric)
    assert metric.name == name or name == "top_k_categorical_accuracy"


def test_get_takes_metrics_and_classes():
    metric = m.F1()
    assert m.get(metric) is metric
    assert isinstance(m.get(m.Recall), m.Recall)
    assert m.get("acc", from_logits=True).binary.threshold == 0.0
    with pytest.raises(ArgumentError, match="'akkuracy'"):
        m.get("akkuracy")


@pytest.mark.parametrize(
    ("make", "preds", "target", "error"),
    [
        (lambda: m.MeanSquaredError(), X, Y[:3], ShapeError),
        (lambda: m.SparseCategoricalAccuracy(), SCORES, LABELS[:3], ShapeError),
        (lambda: m.TopKAccuracy(), X, LABELS, ShapeError),
        (lambda: m.ConfusionMatrix(4), SCORES, LABELS[:4], ShapeError),
        (lambda: m.TopKAccuracy(0), X, Y, ArgumentError),
        (lambda: m.ConfusionMatrix(1), X, Y, ArgumentError),
        (lambda: m.Precision(average="mean"), X, Y, ArgumentError),
        (lambda: m.AUC(curve="DET"), X, Y, ArgumentError),
    ],
)
def test_bad_input_is_refused(make, preds, target, error):
    with pytest.raises(error):
        make().update(preds, target)


def test_labels_out_of_range_are_refused_when_counted():
    matrix = m.ConfusionMatrix(3)
    matrix.update(tn.tensor([0, 1]), tn.tensor([0, 3]))
    with pytest.raises(LabelError, match=r"\[0, 3\)"):
        matrix.compute().numpy()
