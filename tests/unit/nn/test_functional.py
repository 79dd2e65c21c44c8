"""Functions against PyTorch's where layers do not reach: ties, masks, modes, extremes, dtypes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import tenor as tn
import tenor.nn.functional as F
from tenor.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError

POINTS = np.array(
    [-200.0, -25.0, -6.0, -3.0, -1.0, -0.0, 0.0, 1e-4, 1.0, 3.0, 6.0, 25.0, 200.0], np.float32
)
ACTIVATIONS = [
    "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "hardswish",
    "hardsigmoid", "hardtanh", "sigmoid", "tanh", "logsigmoid", "softplus", "softsign",
    "threshold", "prelu",
]  # fmt: skip
BOUNDS = {"hardsigmoid": (-3.0, 3.0), "hardtanh": (-1.0, 1.0), "relu6": (0.0, 6.0)}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_pytorchs_at_ties_and_extremes(name, agree):
    agree(_activation(F, tn, name), _activation(TF, torch, name), [POINTS])


def _activation(functions, lib, name):
    """Return an activation as a function of the input and options."""
    more = {"threshold": (3.0, -2.0), "prelu": (lib.tensor([0.3]),)}.get(name, ())
    return lambda x, **options: getattr(functions, name)(x, *more, **options)


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if n not in ("gelu", "mish")])
def test_an_activation_keeps_nan(name):
    x = tn.tensor([math.nan])
    assert math.isnan(_activation(F, tn, name)(x).item()) == math.isnan(
        _activation(TF, torch, name)(torch.tensor([math.nan])).item()
    )


INPLACE = ["relu", "relu6", "leaky_relu", "elu", "selu", "silu", "mish", "hardswish",
           "hardsigmoid", "hardtanh", "threshold"]  # fmt: skip


@pytest.mark.parametrize("name", INPLACE)
def test_inplace_writes_the_input_and_keeps_the_gradient(name, agree):
    ours, theirs = _activation(F, tn, name), _activation(TF, torch, name)
    x = tn.tensor([-2.0, 3.0])
    wanted = ours(x).tolist()
    assert ours(x, inplace=True) is x
    assert x.tolist() == wanted
    agree(
        lambda x: ours(x * 2, inplace=True) * 3, lambda x: theirs(x * 2, inplace=True) * 3, [(5,)]
    )


@pytest.mark.parametrize("name", INPLACE)
def test_inplace_twice_writes_twice_each_time_it_is_recorded(name):
    function = _activation(F, tn, name)
    wanted = function(function(tn.tensor([-2.0, 3.0]))).tolist()
    for _ in range(3):
        x = tn.tensor([-2.0, 3.0])
        function(x, inplace=True)
        assert function(x, inplace=True) is x
        assert x.tolist() == wanted


REFUSED = {
    "weights": (lambda: F.prelu(tn.ones(2, 3), tn.ones(2)), ShapeError, "each of 3 channels"),
    "vector": (lambda: F.prelu(tn.ones(2), tn.ones(2)), ShapeError, "each of 1 channels"),
    "dtypes": (lambda: F.prelu(tn.ones(2).double(), tn.ones(1)), DTypeError, "tn.float32"),
    "odd": (lambda: F.glu(tn.ones(2, 3)), ShapeError, "dim -1 must be even"),
    "scalar": (lambda: F.glu(tn.ones(())), ShapeError, "must be even"),
    "channels": (lambda: F.pixel_shuffle(tn.ones(6, 2, 2), 2), ShapeError, "multiple of 4"),
    "extents": (lambda: F.pixel_unshuffle(tn.ones(1, 4, 3), 2), ShapeError, "multiples of 2"),
    "dims": (lambda: F.pixel_shuffle(tn.ones(4, 2), 2), ShapeError, r"expects \(\*, C, H, W\)"),
    "factor": (lambda: F.pixel_unshuffle(tn.ones(1, 2, 2), 0), ArgumentError, "positive"),
    "sides": (lambda: tn.nn.ZeroPad2d((1, 2, 3)), ArgumentError, "padding"),
}


@pytest.mark.parametrize(("call", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_what_a_layer_refuses(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_pixels_and_channels_keep_their_dtype_and_may_be_empty():
    whole = torch.arange(32).reshape(1, 8, 2, 2)
    assert (
        F.pixel_shuffle(tn.tensor(whole.numpy()), 2).tolist() == TF.pixel_shuffle(whole, 2).tolist()
    )
    assert F.pixel_shuffle(tn.zeros(0, 4, 2, 2), 2).shape == (0, 1, 4, 4)


@pytest.mark.parametrize("dim", [None, 0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
def test_softmax_over_any_dim(name, dim, agree):
    agree(lambda x: getattr(F, name)(x, dim), lambda x: getattr(TF, name)(x, dim), [(3, 4, 2)])


def test_softmax_of_huge_logits_does_not_overflow(agree):
    x = np.array([[1e30, 0.0, -1e30], [-1e4, -1e4, -1e4]], np.float32)
    agree(lambda x: F.softmax(x, 1), lambda x: TF.softmax(x, 1), [x])


# -- losses -------------------------------------------------------------------------------------
REDUCTIONS = ["mean", "sum", "none"]
PAIRWISE = {
    "mse_loss": {},
    "l1_loss": {},
    "smooth_l1_loss": {"beta": 0.5},
    "huber_loss": {"delta": 0.7},
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", PAIRWISE)
def test_a_loss_of_numbers(name, reduction, agree):
    options = {"reduction": reduction, **PAIRWISE[name]}
    agree(
        lambda x, y: getattr(F, name)(x, y, **options),
        lambda x, y: getattr(TF, name)(x, y, **options),
        [(4, 3), (4, 3)],
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", [n for n in PAIRWISE if n != "smooth_l1_loss"])
def test_a_loss_of_numbers_with_weights(name, reduction, agree):
    options = {"reduction": reduction, **PAIRWISE[name]}
    agree(
        lambda x, y, w: getattr(F, name)(x, y, weight=w, **options),
        lambda x, y, w: getattr(TF, name)(x, y, weight=w, **options),
        [(4, 3), (4, 3), np.linspace(0.5, 2.0, 12, dtype=np.float32).reshape(4, 3)],
    )
    with pytest.raises(ShapeError, match="weight must have the input's shape"):
        getattr(F, name)(tn.ones(4, 3), tn.ones(4, 3), weight=tn.ones(3))


SIGNS = np.array([1, -1, -1, 1])
APART = [
    # loss, options, shapes of the inputs
    ("MarginRankingLoss", {}, [(4,), (4,), SIGNS]),
    ("MarginRankingLoss", {"margin": 0.5}, [(4,), (4,), SIGNS]),
    ("HingeEmbeddingLoss", {}, [(4,), SIGNS]),
    ("HingeEmbeddingLoss", {"margin": 0.3}, [(4,), SIGNS]),
    ("SoftMarginLoss", {}, [(4,), SIGNS]),
    ("CosineEmbeddingLoss", {}, [(4, 3), (4, 3), SIGNS]),
    ("CosineEmbeddingLoss", {"margin": 0.2}, [(4, 3), (4, 3), SIGNS]),
    ("CosineEmbeddingLoss", {"margin": -0.9}, [(3,), (3,), np.array(-1)]),
    ("TripletMarginLoss", {}, [(4, 3), (4, 3), (4, 3)]),
    ("TripletMarginLoss", {"margin": 0.2, "swap": True}, [(4, 3), (4, 3), (4, 3)]),
    ("TripletMarginLoss", {"p": 1.0, "eps": 1e-3}, [(3,), (3,), (3,)]),
    ("PoissonNLLLoss", {}, [(4,), np.array([0.0, 1.0, 2.0, 7.0], np.float32)]),
    ("PoissonNLLLoss", {"full": True}, [(4,), np.array([0.5, 1.0, 2.0, 7.0], np.float32)]),
    ("PoissonNLLLoss", {"log_input": False, "eps": 1e-3},
     [np.array([0.5, 1, 3, 2], np.float32), np.array([0, 1, 2, 7], np.float32)]),
]  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "options", "shapes"), APART)
def test_a_loss_of_pairs_triplets_and_counts(name, options, shapes, reduction, agree):
    ours, theirs = (getattr(lib.nn, name)(**options, reduction=reduction) for lib in (tn, torch))
    agree(ours, theirs, shapes)
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize(("name", "options", "shapes"), APART)
def test_a_loss_of_pairs_never_broadcasts(name, options, shapes):
    inputs = [tn.ones(*np.shape(s) if isinstance(s, np.ndarray) else s) for s in shapes]
    with pytest.raises(ShapeError):
        getattr(tn.nn, name)(**options)(*inputs[:-1], tn.ones(5, 1))


def test_a_count_of_zero_has_a_finite_gradient():
    count = tn.zeros(1, requires_grad=True)  # PyTorch's is NaN
    F.poisson_nll_loss(tn.ones(1), count, full=True).backward()
    assert count.grad.tolist() == [-1.0]


def test_soft_margin_loss_does_not_overflow():
    x = tn.tensor([-200.0], requires_grad=True)
    loss = F.soft_margin_loss(x, tn.ones(1))
    loss.backward()
    assert (loss.item(), x.grad.item()) == (200.0, -1.0)


def test_smooth_l1_with_beta_zero_is_l1(agree):
    agree(
        lambda x, y: F.smooth_l1_loss(x, y, beta=0.0),
        lambda x, y: TF.smooth_l1_loss(x, y, beta=0.0),
        [(4,), (4,)],
    )


@pytest.mark.parametrize("name", [*PAIRWISE, "binary_cross_entropy_with_logits"])
@pytest.mark.parametrize(
    ("shapes", "hint"),
    [(((4, 1), (4,)), "input.squeeze"), (((4,), (4, 1)), "target.squeeze"), (((4,), (1,)), "")],
)
def test_a_loss_never_broadcasts(name, shapes, hint):
    a, b = (tn.zeros(*s) for s in shapes)
    with pytest.raises(ShapeError, match="never broadcasts") as error:
        getattr(F, name)(a, b)
    assert hint in str(error.value)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("options", [{}, {"weight": (4, 3)}, {"pos_weight": (3,)}])
def test_bce_with_logits(options, reduction, agree):
    logits = np.array([[-200.0, -1.0, 0.0], [0.5, 3.0, 200.0], [0.0, 1e-3, -1e-3], [9, -9, 1]])
    target = np.random.default_rng(0).random((4, 3)).astype(np.float32)
    extra = {k: np.random.default_rng(1).random(s).astype("f4") for k, s in options.items()}
    agree(
        lambda x: F.binary_cross_entropy_with_logits(
            x, tn.tensor(target), reduction=reduction, **{k: tn.tensor(v) for k, v in extra.items()}
        ),
        lambda x: TF.binary_cross_entropy_with_logits(
            x,
            torch.tensor(target),
            reduction=reduction,
            **{k: torch.tensor(v) for k, v in extra.items()},
        ),
        [logits.astype(np.float32)],
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_bce_of_probabilities(reduction, agree):
    p = np.array([0.1, 0.5, 0.9, 0.99], np.float32)
    target = np.array([0.0, 1.0, 1.0, 0.25], np.float32)
    agree(
        lambda x: F.binary_cross_entropy(x, tn.tensor(target), reduction=reduction),
        lambda x: TF.binary_cross_entropy(x, torch.tensor(target), reduction=reduction),
        [p],
    )


@pytest.mark.parametrize(
    ("dtype", "slope"), [(tn.float16, 65504.0), (tn.bfloat16, 1e12), (tn.float64, 1e12)]
)
def test_bce_of_certain_mistakes_has_a_gradient_the_dtype_holds(dtype, slope):
    x = tn.tensor([0.0, 1.0, 0.5], dtype=dtype, requires_grad=True)
    target = tn.tensor([1.0, 0.0, 0.5], dtype=dtype)
    loss = F.binary_cross_entropy(x, target, reduction="none")
    loss.sum().backward()
    assert loss.dtype is dtype
    assert loss.tolist() == pytest.approx([100.0, 100.0, 0.6931], rel=1e-2)
    assert x.grad.tolist() == pytest.approx([-slope, slope, 0.0], rel=1e-2)


def test_bce_of_certain_answers_has_a_finite_gradient():
    x = tn.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    F.binary_cross_entropy(x, tn.tensor([0.0, 1.0, 1.0, 0.0]), reduction="sum").backward()
    its = torch.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    target = torch.tensor([0.0, 1.0, 1.0, 0.0])
    TF.binary_cross_entropy(its, target, reduction="sum").backward()
    np.testing.assert_allclose(x.grad[2:].numpy(), its.grad[2:].numpy(), rtol=1e-6)
    # Where PyTorch says 0 for a right answer, this is the slope from inside.
    assert x.grad[:2].tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("binary_cross_entropy", "weight"),
        ("binary_cross_entropy_with_logits", "weight"),
        ("binary_cross_entropy_with_logits", "pos_weight"),
    ],
)
@pytest.mark.parametrize(("shape", "given"), [((4, 1), (4,)), ((4,), (3, 4)), ((4, 3), (4, 1, 1))])
def test_scales_of_a_loss_make_no_more_elements(name, scale, shape, given):
    x = tn.full(shape, 0.5)
    with pytest.raises(ShapeError, match=f"{scale} must broadcast to the input's shape"):
        getattr(F, name)(x, x, **{scale: tn.ones(given)})


def test_bce_of_certain_mistakes_is_bounded():
    loss = F.binary_cross_entropy(tn.tensor([0.0, 1.0]), tn.tensor([1.0, 0.0]), reduction="none")
    assert loss.tolist() == [100.0, 100.0]


@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "batchmean", "sum", "none"])
@pytest.mark.filterwarnings("ignore:reduction")
def test_kl_div(reduction, log_target, agree):
    target = np.array([[0.0, 0.3, 0.7], [1.0, 0.0, 0.0]], np.float32)
    target = np.log(target + 0.1) if log_target else target
    agree(
        lambda x: F.kl_div(x, tn.tensor(target), reduction=reduction, log_target=log_target),
        lambda x: TF.kl_div(x, torch.tensor(target), reduction=reduction, log_target=log_target),
        [(2, 3)],
    )


CLASSES = [((6, 5), (6,)), ((5,), ()), ((2, 5, 3), (2, 3)), ((2, 5, 3, 2), (2, 3, 2))]
OPTIONS = [{}, {"ignore_index": 2}, {"weight": True}, {"weight": True, "ignore_index": 2}]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shapes", CLASSES, ids=str)
@pytest.mark.parametrize(
    ("name", "smoothing"), [("nll_loss", None), ("cross_entropy", 0.0), ("cross_entropy", 0.2)]
)
def test_a_loss_of_classes(name, smoothing, shapes, options, reduction, agree):
    rng = np.random.default_rng(4)
    target = rng.integers(0, 5, shapes[1])
    if shapes[1] == ():
        target = np.asarray(3)
    options = {**options, "reduction": reduction}
    if smoothing is not None:
        options["label_smoothing"] = smoothing
    weight = rng.random(5).astype(np.float32)

    def call(lib, function, x):
        extra = {**options}
        if "weight" in extra:
            extra["weight"] = lib.tensor(weight)
        return function(x, lib.tensor(target), **extra)

    agree(
        lambda x: call(tn, getattr(F, name), x),
        lambda x: call(torch, getattr(TF, name), x),
        [shapes[0]],
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(4, 5), (5,), (2, 5, 3)])
def test_cross_entropy_of_probabilities(shape, smoothing, reduction, agree):
    target = np.random.default_rng(0).random(shape).astype(np.float32)
    weight = np.random.default_rng(1).random(5).astype(np.float32)
    for given in (None, weight):
        agree(
            lambda x, w=given: F.cross_entropy(
                x, tn.tensor(target), None if w is None else tn.tensor(w), reduction=reduction,
                label_smoothing=smoothing,
            ),
            lambda x, w=given: TF.cross_entropy(
                x, torch.tensor(target), None if w is None else torch.tensor(w),
                reduction=reduction, label_smoothing=smoothing,
            ),
            [shape],
        )  # fmt: skip


def test_cross_entropy_where_all_is_ignored_is_nan_as_in_pytorch():
    assert math.isnan(F.cross_entropy(tn.zeros(2, 3), tn.tensor([1, 1]), ignore_index=1).item())


def test_a_masked_logit_takes_no_part(agree):
    x = np.array([[1.0, -math.inf, 2.0]], np.float32)
    agree(
        lambda x: F.cross_entropy(x, tn.tensor([0])),
        lambda x: TF.cross_entropy(x, torch.tensor([0])),
        [x],
    )


LABELS = [
    # classes, labels, the one refused, its position
    (10, [1, 12, 3], 12, "(1,)"),
    (10, [1, 2, -1], -1, "(2,)"),
    (3, [[0, 1], [2, 3]], 3, "(1, 1)"),
]


@pytest.mark.parametrize("backend", ["llvm", "reference"])
@pytest.mark.parametrize(("classes", "labels", "bad", "place"), LABELS)
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_a_label_out_of_range_is_named(name, classes, labels, bad, place, backend, monkeypatch):
    monkeypatch.setattr(tn.config, "backend", backend)
    target = tn.tensor(labels)
    x = tn.zeros(target.shape[0], classes, *target.shape[1:])
    loss = getattr(F, name)(x, target)
    with pytest.raises(tn.errors.LabelError) as error:
        loss.item()
    text = str(error.value)
    assert f"{classes} classes" in text
    assert f"label {bad} at position {place}" in text
    assert "test_functional.py" in text, "the user's line"


def test_after_a_bad_label_training_goes_on():
    w = tn.ones(4, 3, requires_grad=True)
    with pytest.raises(tn.errors.LabelError):
        F.cross_entropy(w, tn.tensor([0, 1, 2, 3])).item()
    loss = F.cross_entropy(w, tn.tensor([0, 1, 2, 0]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(3), rel=1e-6)
    assert w.grad.sum().item() == pytest.approx(0.0, abs=1e-6)


def test_an_ignored_label_may_be_any_number():
    loss = F.cross_entropy(tn.zeros(2, 3), tn.tensor([-100, 1]))
    assert loss.item() == pytest.approx(math.log(3), rel=1e-6)


@pytest.mark.parametrize(
    ("target", "error", "hint"),
    [
        (lambda: tn.zeros(4, 3).long(), ShapeError, "argmax"),
        (lambda: tn.zeros(4, 1).long(), ShapeError, "squeeze"),
        (lambda: tn.zeros(3).long(), ShapeError, "one class per sample"),
        (lambda: tn.zeros(4), ShapeError, "never broadcasts"),
        (lambda: tn.zeros(4) > 0, DTypeError, "long"),
    ],
)
def test_a_target_of_another_kind_says_what_to_do(target, error, hint):
    with pytest.raises(error) as raised:
        F.cross_entropy(tn.zeros(4, 3), target())
    assert hint in str(raised.value)


def test_class_weights_of_another_length_are_refused():
    for target in (tn.zeros(4).long(), tn.zeros(4, 3)):
        with pytest.raises(ShapeError, match="one value for each of 3 classes"):
            F.cross_entropy(tn.zeros(4, 3), target, tn.ones(1))


@pytest.mark.parametrize("name", [*PAIRWISE, "binary_cross_entropy"])
def test_an_unknown_reduction_is_refused(name):
    with pytest.raises(ArgumentError, match="'mean', 'sum' or 'none'"):
        getattr(F, name)(tn.ones(2), tn.ones(2), reduction="average")


# -- embedding ----------------------------------------------------------------------------------
@pytest.mark.parametrize(("index", "bad"), [([0, 5], 5), ([0, -1], -1)])
def test_an_embedding_index_out_of_range_is_named(index, bad):
    with pytest.raises(IndexRangeError, match=f"row {bad} at position \\(1,\\)"):
        F.embedding(tn.tensor(index), tn.zeros(5, 2)).numpy()


def test_an_embedding_of_floats_is_refused():
    with pytest.raises(DTypeError, match="integer"):
        F.embedding(tn.ones(2), tn.zeros(5, 2))


def test_rows_of_several_look_ups_are_all_shortened_each_time_it_is_recorded():
    for _ in range(3):
        w = tn.tensor([[3.0, 4.0], [6.0, 8.0], [6.0, 8.0]])
        F.embedding(tn.tensor([0]), w, max_norm=1.0)
        F.embedding(tn.tensor([1]), w, max_norm=1.0)
        lengths = np.linalg.norm(w.numpy(), axis=1)
        np.testing.assert_allclose(lengths, [1.0, 1.0, 10.0], rtol=1e-5)


def test_a_padding_row_gets_no_gradient():
    weight = tn.ones(4, 2, requires_grad=True)
    F.embedding(tn.tensor([0, 1, 1, 3]), weight, padding_idx=1).sum().backward()
    assert weight.grad[:, 0].tolist() == [1.0, 0.0, 0.0, 1.0]


# -- space --------------------------------------------------------------------------------------
PADS = [
    ((1, 2), "constant", 1.5), ((1, 2, 2, 1), "constant", 0.0), ((-1, 2, 0, -1), "constant", 0.0),
    ((1, 2, 0, 3), "reflect", None), ((2, 1, 1, 4), "replicate", None),
    ((1, 2, 3, 1), "circular", None), ((-1, 1, 2, -1), "circular", None),
    ((-1, 1, 2, -1), "reflect", None), ((3, 0), "reflect", None),
]  # fmt: skip


@pytest.mark.parametrize(("pads", "mode", "value"), PADS)
def test_pad(pads, mode, value, agree):
    extra = {} if value is None else {"value": value}
    shape = (2, 3, 5, 4) if len(pads) == 4 else (2, 5, 4)
    agree(
        lambda x: F.pad(x, pads, mode, **extra), lambda x: TF.pad(x, pads, mode, **extra), [shape]
    )


def test_pad_of_integers_keeps_them():
    assert F.pad(tn.tensor([1, 2]), (1, 1), value=7).tolist() == [7, 1, 2, 7]


@pytest.mark.parametrize("pads", [(1,), (1, 1, 1, 1, 1, 1), (1, 2, 3)])
def test_pad_of_an_odd_or_too_long_list_is_refused(pads):
    with pytest.raises(ArgumentError, match="pair"):
        F.pad(tn.ones(2, 3), pads)


def test_reflection_beyond_the_extent_is_refused():
    with pytest.raises(ArgumentError, match="reflect"):
        F.pad(tn.ones(1, 3), (3, 0), "reflect")


def test_max_pooling_of_integers():
    x = tn.tensor([[[3, 1, 2, 9]]])
    assert F.max_pool1d(x, 2).tolist() == [[[3, 9]]]


def test_max_pooling_gives_the_gradient_to_the_first_of_equals(agree):
    agree(
        lambda x: F.max_pool2d(x, 2), lambda x: TF.max_pool2d(x, 2), [np.ones((1, 1, 4, 4), "f4")]
    )
    diagonal = np.fliplr(np.eye(4, dtype="f4")).reshape(1, 1, 4, 4).copy()
    agree(lambda x: F.adaptive_max_pool2d(x, 1), lambda x: TF.adaptive_max_pool2d(x, 1), [diagonal])


LOW = [
    {"kernel_size": 2, "stride": 1, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": (1, 0)},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": (2, 3), "stride": 1, "padding": (1, 1), "dilation": (1, 2)},
    {"kernel_size": 4, "stride": 3, "padding": 2},
]


@pytest.mark.parametrize("options", LOW, ids=str)
def test_max_pooling_never_takes_the_padding(options):
    """Nothing is above -inf, so that every place of a window, padded or not, is as large."""
    values = np.random.default_rng(0).normal(size=(2, 2, 6, 7)).astype("f4")
    values[0], values[1, :, :3] = -np.inf, -np.inf
    x, its = tn.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    best, places = F.max_pool2d(x, **options, return_indices=True)
    wanted, positions = TF.max_pool2d(its, **options, return_indices=True)
    assert best.tolist() == wanted.tolist()
    assert places.tolist() == positions.tolist()
    scale = np.random.default_rng(1).normal(size=best.shape).astype("f4")
    best.backward(tn.tensor(scale))
    wanted.backward(torch.tensor(scale))
    np.testing.assert_allclose(x.grad.numpy(), its.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_the_lowest_integers_are_found_inside_the_padding():
    x = tn.full((1, 2, 3), -128, dtype=tn.int8)
    _, places = F.max_pool2d(x, 2, 1, 1, return_indices=True)
    assert places.tolist() == [[[0, 0, 1, 2], [0, 0, 1, 2], [3, 3, 4, 5]]]


def test_too_much_padding_of_a_pool_is_refused():
    with pytest.raises(ArgumentError, match="half the kernel"):
        F.max_pool2d(tn.ones(1, 1, 4, 4), 2, padding=2)


@pytest.mark.parametrize(
    ("shape", "hint"), [((2, 8, 8, 3), "movedim"), ((2, 4, 8, 8), "build the layer for 4")]
)
def test_channels_that_do_not_fit_are_named(shape, hint):
    with pytest.raises(ShapeError, match="expects 3 channels") as error:
        F.conv2d(tn.ones(*shape), tn.ones(5, 3, 2, 2))
    assert hint in str(error.value)


def test_a_kernel_larger_than_the_image_is_refused():
    with pytest.raises(ShapeError):
        F.conv2d(tn.ones(1, 1, 2, 2), tn.ones(1, 1, 3, 3))


def test_same_padding_with_a_stride_is_refused():
    with pytest.raises(ArgumentError, match="stride 1"):
        F.conv2d(tn.ones(1, 1, 4, 4), tn.ones(1, 1, 3, 3), stride=2, padding="same")


def test_convolution_of_an_empty_batch():
    assert tuple(F.conv2d(tn.ones(0, 3, 5, 5), tn.ones(4, 3, 3, 3)).shape) == (0, 4, 3, 3)


# -- normalisation ------------------------------------------------------------------------------
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_normalize(p, agree):
    agree(lambda x: F.normalize(x, p), lambda x: TF.normalize(x, p), [(3, 4)])


def test_cosine_similarity(agree):
    agree(F.cosine_similarity, TF.cosine_similarity, [(3, 4), (3, 4)])
    agree(F.cosine_similarity, TF.cosine_similarity, [(3, 4), (4,)])


def test_batch_norm_of_one_value_per_channel_is_refused_in_training():
    with pytest.raises(ShapeError, match="more than one value"):
        F.batch_norm(tn.ones(1, 3), None, None, training=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_norms_of_halves_are_computed_in_single(dtype):
    x = (np.random.default_rng(0).standard_normal((4, 64)) * 300 + 1000).astype(np.float32)
    ours = F.layer_norm(tn.tensor(x).to(dtype), (64,))
    theirs = TF.layer_norm(torch.tensor(x).to(getattr(torch, dtype)), (64,))
    assert ours.dtype.name == dtype
    np.testing.assert_allclose(ours.float().numpy(), theirs.float().numpy(), rtol=2e-2, atol=2e-2)


# -- dropout ------------------------------------------------------------------------------------
def test_dropout_keeps_the_mean_and_drops_the_share():
    tn.manual_seed(0)
    y = F.dropout(tn.ones(200, 200), 0.3).numpy()
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.7)}
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)


def test_dropout_has_the_gradient_of_its_mask():
    x = tn.ones(50, requires_grad=True)
    y = F.dropout(x, 0.5)
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), y.detach().numpy())


def test_dropout_differs_from_call_to_call_and_not_from_run_to_run():
    def run():
        tn.manual_seed(5)
        return [F.dropout(tn.ones(64), 0.5).tolist() for _ in range(2)]

    first = run()
    assert first[0] != first[1]
    assert run() == first


@pytest.mark.parametrize(("p", "value"), [(0.0, 1.0), (1.0, 0.0)])
def test_dropout_of_nothing_and_of_all(p, value):
    assert F.dropout(tn.ones(4), p).tolist() == [value] * 4


def test_dropout2d_drops_whole_channels():
    tn.manual_seed(0)
    y = F.dropout2d(tn.ones(8, 16, 3, 3), 0.5).numpy().reshape(128, 9)
    assert set(np.unique(y)) == {0.0, 2.0}
    assert (y == y[:, :1]).all()


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_a_dropout_probability_outside_its_domain_is_refused(p):
    with pytest.raises(ArgumentError, match=r"\[0, 1\]"):
        F.dropout(tn.ones(2), p)


# -- attention ----------------------------------------------------------------------------------
def attention(lib, function, mask=None, **options):
    """Return attention with a mask made by a library."""

    def call(q, k, v):
        given = None if mask is None else lib.tensor(mask)
        return function(q, k, v, attn_mask=given, **options)

    return call


MASK = np.tril(np.ones((5, 7), bool), 2)
LONGER = np.random.default_rng(3).random((20, 27)) < 0.6
LONGER[5] = False
ATTENTION = [
    ({}, [(2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)]),
    ({"is_causal": True}, [(2, 3, 5, 4), (2, 3, 5, 4), (2, 3, 5, 4)]),
    ({"is_causal": True}, [(2, 5, 4), (2, 7, 4), (2, 7, 4)]),
    ({"mask": MASK}, [(2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)]),
    ({"mask": MASK.astype(np.float32)}, [(2, 5, 4), (2, 7, 4), (2, 7, 6)]),
    ({"mask": MASK & (np.arange(5) != 2)[:, None]}, [(2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)]),
    ({"mask": np.zeros((5, 7), bool)}, [(2, 5, 4), (2, 7, 4), (2, 7, 6)]),
    ({"mask": np.full((2, 5, 7), -np.inf, np.float32)}, [(2, 5, 4), (2, 7, 4), (2, 7, 6)]),
    ({"scale": 0.3}, [(2, 5, 4), (2, 7, 4), (2, 7, 6)]),
    ({"enable_gqa": True}, [(2, 4, 5, 4), (2, 2, 5, 4), (2, 2, 5, 4)]),
    # From sixteen queries on in one pass.
    ({}, [(2, 3, 20, 4), (2, 3, 17, 4), (2, 3, 17, 6)]),
    ({"is_causal": True}, [(70, 9), (70, 9), (70, 5)]),
    ({"is_causal": True, "scale": 0.3}, [(2, 40, 8), (2, 33, 8), (2, 33, 8)]),
    ({"enable_gqa": True}, [(2, 1, 4, 18, 4), (2, 1, 2, 18, 4), (2, 1, 2, 18, 4)]),
    ({"mask": LONGER}, [(2, 3, 20, 4), (2, 3, 27, 4), (2, 3, 27, 6)]),
    ({"mask": LONGER[:1]}, [(20, 4), (27, 4), (27, 6)]),
    ({"mask": LONGER[None, None]}, [(2, 3, 20, 4), (2, 3, 27, 4), (2, 3, 27, 6)]),
    ({"mask": np.stack([LONGER, ~LONGER])}, [(2, 20, 4), (2, 27, 4), (2, 27, 6)]),
    ({"mask": LONGER.astype(np.float32)}, [(2, 1, 3, 20, 4), (2, 1, 3, 27, 4), (2, 1, 3, 27, 6)]),
    ({"mask": np.stack([LONGER, ~LONGER])[:, None, None]},
     [(2, 1, 3, 20, 4), (2, 1, 3, 27, 4), (2, 1, 3, 27, 6)]),
    ({"mask": LONGER[:, :1]}, [(2, 20, 4), (2, 27, 4), (2, 27, 6)]),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("options", "shapes"), ATTENTION)
def test_attention(options, shapes, dtype, agree):
    mask = options.get("mask")
    if dtype == "float64" and mask is not None and mask.dtype != bool:
        options = {**options, "mask": mask.astype(np.float64)}
    agree(
        attention(tn, F.scaled_dot_product_attention, **options),
        attention(torch, TF.scaled_dot_product_attention, **options),
        shapes,
        dtype,
    )


def test_attention_of_broadcast_batches(agree):
    call = (attention(lib, f.scaled_dot_product_attention) for lib, f in ((tn, F), (torch, TF)))
    agree(*call, [(2, 3, 20, 4), (1, 3, 20, 4), (1, 3, 20, 4)], "float32")


def test_attention_in_one_pass_has_second_derivatives():
    q, k, v = (tn.randn(1, 2, 17, 3, dtype=tn.float64).requires_grad_() for _ in range(3))

    def call(*qkv):
        return F.scaled_dot_product_attention(*qkv, is_causal=True).sin().sum()

    grads = tn.autograd.grad(call(q, k, v), (q, k, v), create_graph=True)
    second = tn.autograd.grad(sum((g * g).sum() for g in grads), (q, k, v))
    others = [torch.tensor(x.detach().numpy(), requires_grad=True) for x in (q, k, v)]
    weights = others[0] @ others[1].mT / math.sqrt(3)
    weights = weights.masked_fill(~torch.ones(17, 17).tril().bool(), -math.inf).softmax(-1)
    wanted = torch.autograd.grad((weights @ others[2]).sin().sum(), others, create_graph=True)
    wanted = torch.autograd.grad(sum((g * g).sum() for g in wanted), others)
    for got, want in zip(second, wanted, strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-8, atol=1e-10)


def test_a_mask_that_is_learned_gets_its_gradient(agree):
    call = (
        lambda q, k, v, m, f=f: f.scaled_dot_product_attention(q, k, v, attn_mask=m)
        for f in (F, TF)
    )
    agree(*call, [(2, 20, 4), (2, 18, 4), (2, 18, 4), (20, 18)], "float32")


def test_attention_under_autocast_goes_in_the_lower_dtype():
    q = tn.randn(1, 2, 17, 4)
    with tn.autocast("cpu"):
        assert F.scaled_dot_product_attention(q, q, q).dtype is tn.bfloat16


def test_a_masked_weight_is_no_slower_number():
    q = tn.full((1, 1, 20, 4), 100.0)
    q[..., 10:, :] = -100.0
    made = F.scaled_dot_product_attention(q, q, tn.eye(20).reshape(1, 1, 20, 20))
    assert set(np.unique(made.numpy())) == {0.0, np.float32(0.1)}


def test_attention_drops_other_weights_each_time():
    q = tn.randn(2, 8, 4).materialize()
    runs = [F.scaled_dot_product_attention(q, q, q, dropout_p=0.5).numpy() for _ in range(4)]
    assert len({r.tobytes() for r in runs}) == 4


def test_attention_takes_one_mask():
    x = tn.ones(1, 2, 4)
    with pytest.raises(ArgumentError, match="not both"):
        F.scaled_dot_product_attention(x, x, x, attn_mask=tn.zeros(2, 2), is_causal=True)


@pytest.mark.parametrize(("key", "value"), [((2, 5), (2, 4)), ((3, 4), (2, 4))])
def test_attention_of_other_features_or_times_is_refused(key, value):
    with pytest.raises(ShapeError, match=r"query \(\.\.\., T, D\)"):
        F.scaled_dot_product_attention(tn.ones(2, 4), tn.ones(key), tn.ones(value))


def test_targets_of_numpy_are_named():
    with pytest.raises(DTypeError, match="cross_entropy: target must be a tensor") as error:
        F.cross_entropy(tn.ones(2, 3), np.array([0, 1]))
    assert "target=a NumPy array (2,)" in str(error.value)


def test_one_hot():
    assert F.one_hot(tn.tensor([0, 2]), 3).tolist() == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(IndexRangeError):
        F.one_hot(tn.tensor([3]), 3).numpy()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "softplus", "logsigmoid"])
def test_an_activation_of_a_half_is_rounded_once(name, dtype):
    function = getattr(F, name)
    x = (tn.arange(-500, 500) * 0.02).to(dtype)
    got = function(x)
    assert got.dtype is x.dtype
    assert got.tolist() == function(x.float()).to(dtype).tolist()
    theirs = getattr(torch.nn.functional, name)(torch.tensor(x.tolist()).to(getattr(torch, dtype)))
    same = np.mean(np.array(got.tolist()) == np.array(theirs.tolist()))
    assert same > (0.9 if name == "gelu" else 0.99)
