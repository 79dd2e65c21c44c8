"""Every method that writes in place, in every dtype and mode, against PyTorch."""

import re

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import DTypeError, GradientError, ShapeError
from tests.ops.oracle import given
from tests.ops.rows import ALL, EVERYWHERE, MODES, Row, Sample, backwards, problems

TARGETS = {
    "whole": lambda x: x,
    "a row": lambda x: x[1],
    "a column": lambda x: x[:, 1],
    "transposed": lambda x: x.mT,
    "every other": lambda x: x[:, ::2],
    "backwards": backwards,
    "flat": lambda x: x.view(-1),
}


def writes(name, *args, domain="any", other=None, **options):
    """Return samples: the method on views of x; results are x, the view, and a view made before."""

    def samples(draw):
        for label in draw.some(tuple(TARGETS)):
            leaves = [draw((4, 4), domain)]
            if other is not None:
                leaves.append(draw((), other) if label == "whole" else draw((1,), other))

            def call(m, x, *rest, view=TARGETS[label]):
                base = x.clone()
                if m is torch and view is backwards:
                    base = base.flip(-1)
                    target = base
                else:
                    target = view(base)
                early = base[:2]
                made = getattr(target, name)(*rest, *args, **options)
                assert made is target
                if m is torch and view is backwards:
                    return base.flip(-1), target, base.flip(-1)[:2]
                return base, target, early

            yield Sample(label, tuple(leaves), call)
        if other is not None:
            leaves = draw((3, 4), domain), draw((4,), other)
            yield Sample(
                "broadcast", leaves, lambda m, x, y: getattr(x.clone(), name)(y, *args, **options)
            )
            leaves = draw((4,), domain), draw((3, 4), other)
            yield Sample(
                "grows", leaves, lambda m, x, y: getattr(x.clone(), name)(y, *args, **options)
            )

    return samples


def several(*parts):
    return lambda draw: [sample for part in parts for sample in part(draw)]


def with_mask(call):
    def samples(draw):
        flags = torch.tensor(draw.random.integers(0, 2, (3, 4)).astype(bool))
        yield Sample("mask", (draw((3, 4)), flags), lambda m, x, c: call(x.clone(), c))
        yield Sample("mask of a view", (draw((4, 3)), flags), lambda m, x, c: call(x.clone().mT, c))

    return samples


def placed(call):
    def samples(draw):
        index = torch.tensor([2, 0])
        yield Sample(
            "rows", (draw((3, 4)), index, draw((2, 4))), lambda m, x, i, s: call(x.clone(), i, s)
        )

    return samples


def along(call):
    def samples(draw):
        index = torch.tensor([[2, 0, 1, 1]])
        yield Sample(
            "along", (draw((3, 4)), index, draw((1, 4))), lambda m, x, i, s: call(x.clone(), i, s)
        )

    return samples


UNARY = {
    "neg_": "any",
    "negative_": "any",
    "abs_": "any",
    "absolute_": "any",
    "sign_": "any",
    "sgn_": "any",
    "square_": "any",
    "reciprocal_": "nonzero",
    "exp_": "any",
    "exp2_": "any",
    "expm1_": "any",
    "log_": "positive",
    "log2_": "positive",
    "log10_": "positive",
    "log1p_": "positive",
    "sqrt_": "positive",
    "rsqrt_": "positive",
    "sin_": "any",
    "cos_": "any",
    "tan_": "unit",
    "sinh_": "any",
    "cosh_": "any",
    "tanh_": "any",
    "erf_": "any",
    "erfc_": "any",
    "erfinv_": "unit",
    "asin_": "unit",
    "acos_": "unit",
    "atan_": "any",
    "asinh_": "any",
    "acosh_": "positive",
    "atanh_": "unit",
    "sigmoid_": "any",
    "relu_": "any",
    "floor_": "any",
    "ceil_": "any",
    "round_": "any",
    "trunc_": "any",
    "frac_": "any",
    "nan_to_num_": "any",
    "logical_not_": "any",
    "bitwise_not_": "any",
    "sinc_": "any",
    "zero_": "any",
}
BINARY = {
    "add_": "any",
    "sub_": "any",
    "subtract_": "any",
    "mul_": "any",
    "multiply_": "any",
    "div_": "nonzero",
    "divide_": "nonzero",
    "true_divide_": "nonzero",
    "floor_divide_": "nonzero",
    "remainder_": "nonzero",
    "fmod_": "nonzero",
    "pow_": "few",
    "__iadd__": "any",
    "__isub__": "any",
    "__imul__": "any",
    "__itruediv__": "nonzero",
    "__ifloordiv__": "nonzero",
    "__imod__": "nonzero",
    "__ipow__": "few",
    "eq_": "few",
    "ne_": "few",
    "lt_": "any",
    "le_": "any",
    "gt_": "any",
    "ge_": "any",
    "bitwise_and_": "any",
    "bitwise_or_": "any",
    "bitwise_xor_": "any",
    "__iand__": "any",
    "__ior__": "any",
    "__ixor__": "any",
    "__ilshift__": "few",
    "__irshift__": "few",
    "logical_and_": "any",
    "logical_or_": "any",
    "logical_xor_": "any",
    "copysign_": "nonzero",
    "hypot_": "any",
    "atan2_": "nonzero",
    "copy_": "any",
    "fill_": "any",
    "clamp_max_": "any",
    "clamp_min_": "any",
    "xlogy_": "positive",
}
NUMBER = {
    "add_": 2,
    "sub_": 2,
    "mul_": 2,
    "div_": 2,
    "pow_": 2,
    "fill_": 3,
    "__iadd__": 1,
    "__imul__": 2,
    "remainder_": 3,
    "floor_divide_": 2,
    "eq_": 1,
    "lt_": 2,
}
OTHERS = {
    "clamp_": Row(several(writes("clamp_", 1, 2), writes("clamp_", max=1))),
    "clip_": Row(writes("clip_", 1, 2)),
    "lerp_": Row(
        lambda draw: [
            Sample("number", (draw((3, 4)), draw((3, 4))), lambda m, x, y: x.clone().lerp_(y, 0.25))
        ]
    ),
    "addcmul_": Row(
        lambda draw: [
            Sample(
                "three",
                (draw((3, 4)), draw((4,)), draw((3, 1))),
                lambda m, x, a, b: x.clone().addcmul_(a, b, value=2),
            )
        ],
        takes=("bool",),
    ),
    "addcdiv_": Row(
        lambda draw: [
            Sample(
                "three",
                (draw((3, 4)), draw((4,)), draw((3, 1), "nonzero")),
                lambda m, x, a, b: x.clone().addcdiv_(a, b, value=2),
            )
        ]
    ),
    "masked_fill_": Row(
        several(
            with_mask(lambda x, c: x.masked_fill_(c, 1)),
            with_mask(lambda x, c: x.masked_fill_(c, True)),
        )
    ),
    "masked_scatter_": Row(
        lambda draw: [
            Sample(
                "mask",
                (draw((4,)), torch.tensor([True, False, True, True]), draw((5,))),
                lambda m, x, c, s: x.clone().masked_scatter_(c, s),
            )
        ]
    ),
    "scatter_": Row(
        lambda draw: [
            *along(lambda x, i, s: x.scatter_(0, i, s))(draw),
            *along(lambda x, i, s: x.scatter_(0, i, 1))(draw),
        ]
    ),
    "scatter_add_": Row(
        along(lambda x, i, s: x.scatter_add_(0, i, s)), takes=("bool",), refuses=("bool",)
    ),
    "scatter_reduce_": Row(
        along(lambda x, i, s: x.scatter_reduce_(0, i, s, "amax")), dtypes=("float32", "int64")
    ),
    "index_add_": Row(placed(lambda x, i, s: x.index_add_(0, i, s)), refuses=("bool",)),
    "index_copy_": Row(placed(lambda x, i, s: x.index_copy_(0, i, s))),
    "index_fill_": Row(placed(lambda x, i, s: x.index_fill_(0, i, 1))),
    "index_put_": Row(placed(lambda x, i, s: x.index_put_((i,), s))),
    "cumsum_": Row(writes("cumsum_", 0), takes=("bool",), refuses=("bool",)),
    "cumprod_": Row(writes("cumprod_", 0, domain="unit"), takes=("bool",), refuses=("bool",)),
    "tril_": Row(lambda draw: [Sample("square", (draw((4, 4)),), lambda m, x: x.clone().tril_(1))]),
    "triu_": Row(
        lambda draw: [Sample("square", (draw((4, 4)),), lambda m, x: x.clone().triu_(-1))]
    ),
    "logit_": Row(writes("logit_", domain="unit")),
    "fill_diagonal_": Row(
        lambda draw: [Sample("square", (draw((4, 4)),), lambda m, x: x.clone().fill_diagonal_(1))]
    ),
    "addmm_": Row(
        lambda draw: [
            Sample(
                "product",
                (draw((2, 3)), draw((2, 4)), draw((4, 3))),
                lambda m, x, a, b: x.clone().addmm_(a, b),
            )
        ],
        dtypes=("float32", "float64"),
        ulps=20,
    ),
    "addmv_": Row(
        lambda draw: [
            Sample(
                "product",
                (draw((2,)), draw((2, 4)), draw((4,))),
                lambda m, x, a, b: x.clone().addmv_(a, b),
            )
        ],
        dtypes=("float32", "float64"),
        ulps=20,
    ),
    "addr_": Row(
        lambda draw: [
            Sample(
                "product",
                (draw((2, 3)), draw((2,)), draw((3,))),
                lambda m, x, a, b: x.clone().addr_(a, b),
            )
        ],
        dtypes=("float32", "float64"),
        ulps=20,
    ),
    "baddbmm_": Row(
        lambda draw: [
            Sample(
                "product",
                (draw((2, 2, 3)), draw((2, 2, 4)), draw((2, 4, 3))),
                lambda m, x, a, b: x.clone().baddbmm_(a, b),
            )
        ],
        dtypes=("float32", "float64"),
        ulps=20,
    ),
    "renorm_": Row(
        lambda draw: [Sample("rows", (draw((3, 4)),), lambda m, x: x.clone().renorm_(2, 0, 0.5))],
        dtypes=("float32", "float64"),
        ulps=20,
    ),
}
"""Methods that need more than one tensor, or arguments of their own."""

OUTSIDE = {
    "detach_",
    "requires_grad_",
    "uniform_",
    "normal_",
    "random_",
    "bernoulli_",
    "exponential_",
    "geometric_",
    "cauchy_",
    "log_normal_",
}
"""Methods tried elsewhere: gradients, random numbers."""

ROWS = {name: Row(writes(name, domain=domain), ulps=8) for name, domain in UNARY.items()}
for name, domain in BINARY.items():
    made = writes(
        name,
        domain="positive" if name in ("pow_", "__ipow__", "float_power_") else "any",
        other=domain,
    )
    made = several(made, writes(name, NUMBER[name], domain="positive")) if name in NUMBER else made
    ROWS[name] = Row(made, ulps=8)
ROWS |= OTHERS
WIDER = {
    "floor_": ("bool",),
    "ceil_": ("bool",),
    "trunc_": ("bool",),
    "round_": ("bool",),
    "fix_": ("bool",),
    "frac_": tuple(d for d in ALL if "float" not in d),
    "pow_": ("bool",),
    "__ipow__": ("bool",),
    "clamp_max_": ("bool",),
    "clamp_min_": ("bool",),
}
"""Where Tenor takes what PyTorch refuses, as the forms without underscore do."""
ROWS = {name: row._replace(takes=row.takes + WIDER.get(name, ())) for name, row in ROWS.items()}


def methods():
    named = {
        n
        for n in dir(tn.Tensor)
        if re.fullmatch(r"[a-z0-9_]*[a-z0-9]_", n) and not n.startswith("_")
    }
    operators = {n for n in dir(tn.Tensor) if re.fullmatch(r"__i\w+__", n)} - {
        "__init__",
        "__iter__",
        "__int__",
        "__invert__",
        "__index__",
        "__init_subclass__",
    }
    return named | operators


def test_every_method_has_a_row():
    assert methods() - OUTSIDE == set(ROWS)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("method", sorted(ROWS))
def test_values(method, dtype, count):
    if dtype not in ROWS[method].dtypes:
        return
    # What is computed is the form without underscore, tried in every mode and dtype where it is.
    modes = MODES if dtype in EVERYWHERE else ("recorded", "compiled")
    found = problems(method, ROWS[method], dtype, modes, count=count)
    assert not found, "\n".join(found[:12])


# -- what a table does not say -----------------------------------------------------------------
def test_numpys_view_and_the_tensor_see_each_other():
    x = tn.arange(6.0).reshape(2, 3).clone()
    array = x.numpy()
    x += 1
    assert array.tolist() == x.tolist()
    array[0, 0] = 50.0
    assert (x * 2)[0, 0].item() == 100.0
    row = x[1]
    row.zero_()
    assert array[1].tolist() == [0.0, 0.0, 0.0]


def test_a_value_recorded_before_a_write_keeps_the_old_one():
    x = tn.ones(3)
    y = x + 1
    x.mul_(5)
    z = x + 1
    assert (y.tolist(), z.tolist()) == ([2.0] * 3, [6.0] * 3)


@pytest.mark.parametrize("seen", [False, True])
def test_operands_that_are_the_target_or_views_of_it(seen):
    for write in (
        lambda x: x.add_(x),
        lambda x: x.mul_(x[0].clone()),
        lambda x: x[1:].add_(x[:-1].clone()),
        lambda x: x.copy_(x.flip(0)),
        lambda x: x[0].copy_(x[1]),
        lambda x: x.T.sub_(x.T * 2),
        lambda x: x.masked_fill_(x > 3, 0),
        lambda x: x.view(-1).add_(x.reshape(-1)),
    ):
        mine, theirs = tn.arange(9.0).reshape(3, 3), torch.arange(9.0).reshape(3, 3).clone()
        mine = mine.clone()
        if seen:
            mine.tolist()
        write(mine)
        write(theirs)
        assert mine.tolist() == theirs.tolist()


def test_augmented_assignment_keeps_the_object():
    x = y = tn.ones(2)
    for i in range(3):
        x += i
        x *= 2
    assert x is y
    assert y.tolist() == [16.0, 16.0]


def test_versions_count_writes():
    x = tn.zeros(4)
    view = x[1:]
    before = x._version
    x.add_(1)
    view.mul_(2)
    assert x._version == view._version == before + 2


def test_a_write_to_what_a_gradient_needs_is_an_error():
    x = tn.ones(3, requires_grad=True)
    y = x.exp()
    z = y.sum()
    y.add_(1)
    with pytest.raises(GradientError):
        z.backward()
    with pytest.raises(GradientError, match="leaf"):
        x.add_(1)
    with tn.no_grad():
        x.add_(1)
    assert x.requires_grad
    assert x.is_leaf


ERRORS = {
    "a float into integers": (
        lambda x: x.long().add_(0.5),
        DTypeError,
        ("add_", "float32", "int64"),
    ),
    "division of integers": (lambda x: x.long().div_(2), DTypeError, ("div_", "int64")),
    "an integer into bools": (lambda x: (x > 0).add_(2), DTypeError, ("add_", "bool")),
    "a shape that grows": (lambda x: x.add_(tn.ones(4, 2, 3)), ShapeError, ("(4, 2, 3)", "(2, 3)")),
    "a shape that does not fit": (lambda x: x.add_(tn.ones(4)), ShapeError, ("(4,)", "(2, 3)")),
    "copy_": (lambda x: x.copy_(tn.ones(3, 3)), ShapeError, ("copy_", "(3, 3)")),
    "copy_ that grows": (lambda x: x.copy_(tn.ones(2, 2, 3)), ShapeError, ("copy_", "(2, 2, 3)")),
    "fill_": (lambda x: x.fill_(tn.ones(2)), ShapeError, ("fill_", "(2,)", "copy_()")),
    "an expanded tensor": (lambda x: x[:1].expand(2, 3).add_(1), GradientError, ("expanded",)),
    "an alpha": (lambda x: x.long().add_(x.long(), alpha=0.5), DTypeError, ("alpha",)),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_was_wanted_what_came_and_what_to_do(case):
    call, kind, words = ERRORS[case]
    x = tn.ones(2, 3)
    with pytest.raises(kind) as caught:
        call(x)
    for word in words:
        assert word in str(caught.value)
    assert "fix:" in str(caught.value)
    assert x.tolist() == np.ones((2, 3)).tolist()


def test_halves_are_rounded_at_each_write():
    x, y = torch.full((5,), 0.1, dtype=torch.bfloat16), None
    y = given(x)
    for _ in range(20):
        x.mul_(1.1).add_(0.01)
        y.mul_(1.1).add_(0.01)
    assert y.float().tolist() == x.float().tolist()
