"""The differentiable functions: calls that mean the same in Tenor and PyTorch, and their inputs."""

from __future__ import annotations

import itertools
from typing import Any

TURNED = [[1, 0, 2], [2, 1, 0]]
MASK = [[True, False, True], [False, True, True]]
SHARES = [[0.25, 0.5, 0.25], [1.0, 0.0, 0.0]]
A = (2, 3)

FUNCTIONS: dict[str, tuple[Any, ...]] = {}
"""Label to (call of a module and tensors, *inputs); an input is a shape, or (shape, domain)."""


NO_DIFFERENCES = {"F.embedding padded"}
"""Functions whose gradient is not their derivative: the padding row gets none, as in PyTorch."""
NONE_FOR_ZEROS = {"written: all"}
"""Where PyTorch gives zeros, Tenor nothing: a tensor written whole depends on nothing before."""


def add(label, call, *inputs):
    assert label not in FUNCTIONS, label
    FUNCTIONS[label] = (call, *inputs)


def spec(given):
    """Return an input's shape and domain."""
    return given if len(given) == 2 and isinstance(given[1], str) else (given, "any")


P, Q = (A, "positive"), (A, "apart")

# -- one input, element by element ----------------------------------------------------------------
for name in ("abs", "relu", "reciprocal", "frac", "positive"):
    add(name, lambda m, x, name=name: getattr(m, name)(x), Q)
for name in ("exp", "exp2", "expm1", "sin", "cos", "tan", "tanh", "sinh", "cosh", "asinh", "atan",
             "erf", "erfc", "sigmoid", "square", "sinc", "deg2rad", "rad2deg", "neg"):  # fmt: skip
    add(name, lambda m, x, name=name: getattr(m, name)(x), A)
for name in ("log", "log2", "log10", "log1p", "sqrt", "rsqrt", "lgamma"):
    add(name, lambda m, x, name=name: getattr(m, name)(x), P)
for name in ("asin", "acos", "atanh", "erfinv"):
    add(name, lambda m, x, name=name: getattr(m, name)(x * 0.5), A)
add("acosh", lambda m, x: m.acosh(x + 1.5), P)
add("logit", lambda m, x: m.logit(x * 0.4), P)
add("nan_to_num", lambda m, x: m.nan_to_num(x), A)
add("clamp", lambda m, x: x.clamp(-0.9, 0.9), Q)
add("clamp min", lambda m, x: x.clamp(min=0.2), Q)
add("clamp by tensors", lambda m, x, lo, hi: x.clamp(lo - 2, hi + 2), Q, (3,), (2, 1))
for name in ("elu", "selu", "gelu", "silu", "mish", "softplus", "softsign", "logsigmoid",
             "leaky_relu", "hardswish", "hardsigmoid", "hardtanh", "relu6"):  # fmt: skip
    add(f"F.{name}", lambda m, x, name=name: getattr(m.nn.functional, name)(x), Q)
add("F.gelu tanh", lambda m, x: m.nn.functional.gelu(x, approximate="tanh"), A)

# -- two inputs, broadcast ------------------------------------------------------------------------
for name in ("add", "sub", "mul", "maximum", "minimum", "fmax", "fmin", "atan2"):
    add(name, lambda m, a, b, name=name: getattr(m, name)(a, b), Q, ((3,), "apart"))
for name in ("div", "pow", "hypot", "xlogy", "logaddexp", "float_power"):
    add(name, lambda m, a, b, name=name: getattr(m, name)(a, b), ((2, 1), "positive"),
        ((3,), "positive"))  # fmt: skip
add("pow a number", lambda m, x: x**3 + x**2 + x**1, A)
add("pow a fraction", lambda m, x: x**1.7 + x**-0.5, P)
add("number to the power", lambda m, x: 2.5**x, A)
add("remainder", lambda m, a, b: m.remainder(a, b + 1), Q, ((3,), "positive"))
add("fmod", lambda m, a, b: m.fmod(a, b + 1), Q, ((3,), "positive"))
add("copysign", lambda m, a: m.copysign(a, m.tensor(-1.0)), Q)
add("lerp", lambda m, a, b, w: m.lerp(a, b, w), A, A, (3,))
add("addcmul", lambda m, a, b, c: m.addcmul(a, b, c, value=0.7), A, (3,), (2, 1))
add("addcdiv", lambda m, a, b, c: m.addcdiv(a, b, c, value=0.7), A, (3,), ((2, 1), "positive"))
add("where", lambda m, a, b: m.where(m.tensor(MASK), a, b), A, (3,))
add("where by value", lambda m, a, b: m.where(a > b, a * b, a - b), Q, A)
add("a tensor with itself", lambda m, x: x * x + x / (x * x + 1), A)

# -- reductions -----------------------------------------------------------------------------------
for name, dim, keep in itertools.product(
    ("sum", "mean", "prod", "amax", "amin", "logsumexp", "nansum", "nanmean"), (0, -1), (0, 1)
):
    add(f"{name} dim {dim} keepdim {keep}",
        lambda m, x, name=name, dim=dim, keep=keep: getattr(m, name)(x, dim, keepdim=bool(keep)),
        ((3, 4), "apart"))  # fmt: skip
for name in ("sum", "mean", "prod", "amax", "amin", "max", "min", "std", "var", "norm", "median"):
    add(f"{name} of all", lambda m, x, name=name: getattr(m, name)(x), ((3, 3), "apart"))
for name, keep in itertools.product(("max", "min", "median", "cummax", "cummin"), (0, 1)):
    if name.startswith("cum"):
        add(f"{name} along {keep}", lambda m, x, name=name, dim=keep: getattr(m, name)(x, dim)[0],
            ((3, 4), "apart"))  # fmt: skip
    else:
        add(f"{name} values, keepdim {keep}",
            lambda m, x, name=name, keep=keep: getattr(m, name)(x, 1, keepdim=bool(keep))[0],
            ((3, 5), "apart"))  # fmt: skip
for name, unbiased, keep in itertools.product(("var", "std"), (0, 1), (0, 1)):
    add(f"{name} correction {unbiased} keepdim {keep}",
        lambda m, x, name=name, n=unbiased, keep=keep:
        getattr(m, name)(x, dim=1, correction=n, keepdim=bool(keep)), (3, 4))  # fmt: skip
add("sum of two dims", lambda m, x: x.sum((0, 2)), (2, 3, 2))
add("mean of two dims, kept", lambda m, x: x.mean((1, 2), keepdim=True), (2, 3, 2))
for p in (1, 2, 3, 0.5, float("inf")):
    add(f"norm {p}", lambda m, x, p=p: m.norm(x, p, dim=1), ((3, 4), "apart"))
add("norm of a matrix, kept", lambda m, x: m.norm(x, 2, dim=(0, 1), keepdim=True), (3, 4))
add("dist", lambda m, a, b: m.dist(a, b), A, A)
for name, dim in itertools.product(("softmax", "log_softmax"), (0, 1)):
    add(f"{name} {dim}", lambda m, x, name=name, dim=dim: getattr(m, name)(x, dim), (3, 4))
for name, dim in itertools.product(("cumsum", "cumprod", "logcumsumexp"), (0, 1)):
    add(f"{name} {dim}", lambda m, x, name=name, dim=dim: getattr(m, name)(x, dim), (3, 4))

# -- order ----------------------------------------------------------------------------------------
L = ((3, 5), "apart")
add("sort", lambda m, x: m.sort(x, dim=1, descending=True)[0], L)
add("msort", lambda m, x: m.msort(x), L)
add("topk", lambda m, x: m.topk(x, 2, dim=1)[0], L)
add("topk smallest", lambda m, x: m.topk(x, 2, dim=0, largest=False)[0], L)
add("kthvalue", lambda m, x: m.kthvalue(x, 2, dim=1, keepdim=True)[0], L)
add("quantile", lambda m, x: m.quantile(x, 0.3, dim=1), L)

# -- index ----------------------------------------------------------------------------------------
add("gather", lambda m, x: m.gather(x, 1, m.tensor(TURNED)), A)
add("take_along_dim", lambda m, x: m.take_along_dim(x, m.tensor(TURNED), 1), A)
add("take", lambda m, x: m.take(x, m.tensor([5, 0, 0])), A)
add("scatter", lambda m, x, s: m.scatter(x, 1, m.tensor(TURNED), s), A, (2, 3))
add("scatter a number", lambda m, x: m.scatter(x, 0, m.tensor([[1, 0, 1]]), 0.5), A)
add("scatter_add", lambda m, x, s: m.scatter_add(x, 1, m.tensor([[0, 0, 2], [1, 1, 1]]), s), A, A)
add("scatter_reduce amax",
    lambda m, x, s: m.scatter_reduce(x, 1, m.tensor([[0, 0, 2], [1, 1, 1]]), s, "amax"), Q,
    ((2, 3), "positive"))  # fmt: skip
add("index_select", lambda m, x: m.index_select(x, 1, m.tensor([2, 0, 0])), A)
add("index_add", lambda m, x, s: m.index_add(x, 1, m.tensor([2, 0]), s, alpha=0.5), A, (2, 2))
add("index_copy", lambda m, x, s: m.index_copy(x, 1, m.tensor([2, 0]), s), A, (2, 2))
add("index_fill", lambda m, x: m.index_fill(x, 1, m.tensor([2]), 1.5), A)
add("index_put", lambda m, x, s: x.index_put((m.tensor([1, 1]), m.tensor([0, 2])), s,
                                             accumulate=True), A, (2,))  # fmt: skip
add("masked_fill", lambda m, x: x.masked_fill(m.tensor(MASK), 0.5), A)
add("masked_select", lambda m, x: m.masked_select(x, m.tensor(MASK)), A)
add("masked_scatter", lambda m, x, s: x.masked_scatter(m.tensor(MASK), s), A, (4,))
add("x[mask]", lambda m, x: x[m.tensor(MASK)], A)
add("x[row]", lambda m, x: x[1] * x[-2], A)
add("x[::2, 1:]", lambda m, x: x[::2, 1:], (4, 3))
add("x[..., None, -1]", lambda m, x: x[..., None, -1], A)
add("x[list]", lambda m, x: x[[1, 1, 0]], A)
add("x[rows, columns]", lambda m, x: x[m.tensor([0, 1, 1]), m.tensor([2, 0, 0])], A)
add("x[:, index]", lambda m, x: x[:, m.tensor([[2, 0], [0, 1]])], A)
add("select", lambda m, x: x.select(1, 2), A)
add("narrow", lambda m, x: x.narrow(1, 1, 2), A)

# -- movement and joining -------------------------------------------------------------------------
add("cat", lambda m, a, b: m.cat([a, b, a], 1), A, (2, 2))
add("stack", lambda m, a, b: m.stack([a, b], -1), A, A)
add("split", lambda m, x: x.split(2, 1)[1] * x.split([1, 2], 1)[0], A)
add("chunk", lambda m, x: x.chunk(2, 1)[0].exp(), (2, 4))
add("unbind", lambda m, x: x.unbind(1)[0] * x.unbind(1)[2], A)
add("views", lambda m, x: x.t().reshape(-1).view(2, 3).unsqueeze(1).squeeze(1).flatten(), A)
add("permute", lambda m, x: x.permute(2, 0, 1).transpose(0, 1), (2, 3, 2))
add("expand", lambda m, x: x.expand(4, 2, 3), (2, 1))
add("repeat", lambda m, x: x.repeat(2, 1, 2), A)
add("repeat_interleave", lambda m, x: x.repeat_interleave(2, 1), A)
add("tile", lambda m, x: m.tile(x, (2, 2)), A)
add("flip", lambda m, x: m.flip(x, (0, 1)), A)
add("roll", lambda m, x: m.roll(x, 2, 1), A)
add("rot90", lambda m, x: m.rot90(x), A)
add("tril, triu", lambda m, x: m.tril(x) * 2 + m.triu(x, 1), (3, 3))
add("diagonal", lambda m, x: m.diagonal(x) * m.diag(x), (3, 3))
add("diag_embed", lambda m, x: m.diag_embed(x), A)
add("unfold", lambda m, x: x.unfold(1, 2, 1), (2, 4))
add("diff", lambda m, x: m.diff(x), (2, 4))
add("kron", lambda m, a, b: m.kron(a, b), (2, 2), (1, 2))
add("meshgrid", lambda m, a, b: m.meshgrid(a, b, indexing="ij")[0] * 2, (2,), (3,))
add("trapezoid", lambda m, x: m.trapezoid(x), (2, 4))

# -- products -------------------------------------------------------------------------------------
add("matmul", lambda m, a, b: a @ b, A, (3, 2))
add("matmul vector", lambda m, a, b: m.matmul(a, b), (2, 2, 3), (3,))
add("matmul broadcast", lambda m, a, b: a @ b, (2, 1, 2, 3), (2, 3, 2))
add("dot", lambda m, a, b: m.dot(a, b), (3,), (3,))
add("mv", lambda m, a, b: m.mv(a, b), A, (3,))
add("outer", lambda m, a, b: m.outer(a, b), (2,), (3,))
add("bmm", lambda m, a, b: m.bmm(a, b), (2, 2, 3), (2, 3, 1))
add("addmm", lambda m, c, a, b: m.addmm(c, a, b, beta=0.5, alpha=2), (2,), A, (3, 2))
add("baddbmm", lambda m, c, a, b: m.baddbmm(c, a, b), (2, 1, 2), (2, 2, 2), (2, 2, 2))
add("einsum", lambda m, a, b: m.einsum("bij,bjk->bik", a, b), (2, 2, 3), (2, 3, 2))
add("einsum diagonal", lambda m, a, b: m.einsum("ii,j->ij", a, b), (3, 3), (2,))
add("tensordot", lambda m, a, b: m.tensordot(a, b, dims=([1], [0])), (2, 3), (3, 2))
add("cdist", lambda m, a, b: m.cdist(a, b), (2, 3), (3, 3))
add("cross", lambda m, a, b: m.cross(a, b, dim=1), A, A)
add("trace", lambda m, x: m.trace(x @ x), (3, 3))

# -- networks -------------------------------------------------------------------------------------
add("F.linear", lambda m, x, w, b: m.nn.functional.linear(x, w, b), A, (4, 3), (4,))
add("F.conv1d", lambda m, x, w, b: m.nn.functional.conv1d(x, w, b, padding=1), (2, 2, 5),
    (2, 2, 3), (2,))  # fmt: skip
add("F.conv1d strided", lambda m, x, w: m.nn.functional.conv1d(
    x, w, stride=2, padding=2, dilation=2, groups=2), (1, 2, 6), (2, 1, 2))  # fmt: skip
add("F.conv2d", lambda m, x, w, b: m.nn.functional.conv2d(x, w, b, stride=(2, 1), padding=(1, 0)),
    (1, 2, 4, 3), (2, 2, 2, 2), (2,))  # fmt: skip
add("F.conv_transpose1d", lambda m, x, w, b: m.nn.functional.conv_transpose1d(
    x, w, b, stride=2, output_padding=1), (1, 2, 3), (2, 2, 2), (2,))  # fmt: skip
add("F.conv_transpose2d", lambda m, x, w: m.nn.functional.conv_transpose2d(x, w, padding=1),
    (1, 2, 3, 3), (2, 1, 2, 2))  # fmt: skip
add("F.max_pool1d", lambda m, x: m.nn.functional.max_pool1d(x, 2), ((1, 2, 6), "apart"))
add("F.max_pool2d", lambda m, x: m.nn.functional.max_pool2d(x, 3, stride=2, padding=1),
    ((1, 1, 5, 5), "apart"))  # fmt: skip
add("F.avg_pool1d", lambda m, x: m.nn.functional.avg_pool1d(x, 2, stride=1), (1, 2, 5))
add("F.avg_pool2d", lambda m, x: m.nn.functional.avg_pool2d(x, 2, padding=1), (1, 1, 4, 4))
add("F.adaptive_avg_pool2d", lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, 2), (1, 1, 3, 5))
add("F.adaptive_max_pool1d", lambda m, x: m.nn.functional.adaptive_max_pool1d(x, 2),
    ((1, 2, 5), "apart"))  # fmt: skip
for mode in ("constant", "reflect", "replicate", "circular"):
    add(f"F.pad {mode}", lambda m, x, mode=mode: m.nn.functional.pad(x, (1, 2), mode=mode),
        (1, 2, 4))  # fmt: skip
add("F.pad cuts", lambda m, x: m.nn.functional.pad(x, (-1, 1, 1, -1), value=2.0), (3, 4))
add("F.batch_norm", lambda m, x, w, b: m.nn.functional.batch_norm(
    x, None, None, w, b, training=True), (4, 2, 3), (2,), (2,))  # fmt: skip
add("F.batch_norm evaluated", lambda m, x, w, b: m.nn.functional.batch_norm(
    x, m.tensor([0.5, -0.25]), m.tensor([1.5, 0.75]), w, b), (3, 2), (2,), (2,))  # fmt: skip
add("F.layer_norm", lambda m, x, w, b: m.nn.functional.layer_norm(x, (4,), w, b), (3, 4), (4,),
    (4,))  # fmt: skip
add("F.group_norm", lambda m, x, w, b: m.nn.functional.group_norm(x, 2, w, b), (2, 4, 2), (4,),
    (4,))  # fmt: skip
add("F.instance_norm", lambda m, x: m.nn.functional.instance_norm(x), (2, 2, 4))
add("F.rms_norm", lambda m, x, w: m.nn.functional.rms_norm(x, (4,), w, eps=1e-5), (3, 4), (4,))
add("F.normalize", lambda m, x: m.nn.functional.normalize(x), (3, 4))
add("F.cosine_similarity", lambda m, a, b: m.nn.functional.cosine_similarity(a, b), (3, 4), (3, 4))
add("F.embedding", lambda m, w: m.nn.functional.embedding(m.tensor([[2, 0], [2, 1]]), w), (3, 2))
add("F.embedding padded", lambda m, w: m.nn.functional.embedding(
    m.tensor([2, 0, 2]), w, padding_idx=0) * 2, (3, 2))  # fmt: skip
for causal in (False, True):
    add(f"F.sdpa causal {causal}", lambda m, q, k, v, causal=causal:
        m.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal),
        (1, 2, 3, 2), (1, 2, 3, 2), (1, 2, 3, 2))  # fmt: skip
add("F.sdpa masked", lambda m, q, k, v, b: m.nn.functional.scaled_dot_product_attention(
    q, k, v, attn_mask=b, scale=0.8), (2, 3, 2), (2, 4, 2), (2, 4, 3), (3, 4))  # fmt: skip

# -- losses ---------------------------------------------------------------------------------------
for reduction in ("mean", "sum", "none"):
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        add(f"F.{name} {reduction}", lambda m, a, b, name=name, r=reduction:
            getattr(m.nn.functional, name)(a, b, reduction=r), Q, P)  # fmt: skip
    add(f"F.cross_entropy {reduction}", lambda m, x, r=reduction: m.nn.functional.cross_entropy(
        x, m.tensor([2, 0]), m.tensor([0.5, 1.5, 0.7]).to(x.dtype), reduction=r,
        label_smoothing=0.1), A)  # fmt: skip
add("F.cross_entropy ignored", lambda m, x: m.nn.functional.cross_entropy(
    x, m.tensor([[1, -100], [0, 2]]), ignore_index=-100), (2, 3, 2))  # fmt: skip
add("F.cross_entropy of probabilities", lambda m, x, y: m.nn.functional.cross_entropy(
    x, m.softmax(y, 1)), A, A)  # fmt: skip
add("F.nll_loss", lambda m, x: m.nn.functional.nll_loss(m.log_softmax(x, 1), m.tensor([2, 0])), A)
add("F.binary_cross_entropy", lambda m, x: m.nn.functional.binary_cross_entropy(
    m.sigmoid(x), m.tensor(SHARES).to(x.dtype)), A)  # fmt: skip
add(
    "F.binary_cross_entropy_with_logits",
    lambda m, x: m.nn.functional.binary_cross_entropy_with_logits(x, m.tensor(SHARES).to(x.dtype)),
    Q,
)
add("F.kl_div", lambda m, x: m.nn.functional.kl_div(
    m.log_softmax(x, 1), m.tensor(SHARES).to(x.dtype), reduction="batchmean"), A)  # fmt: skip


# -- writes in place, through views ---------------------------------------------------------------
def written(write):
    """Return a function that writes a copy of x in place and returns it, curved."""

    def call(m, x, *others):
        y = x * 1.5
        write(m, y, *others)
        return y * y

    return call


def through_a_chain(m, y, s):
    view = y.t()[1:]
    view[0] *= s
    y[0].mul_(2)
    view.add_(s)


def read_between(m, y, s):
    before = y[0] * 1
    y[0] = s
    y[1] += before


def setitem(key):
    def write(m, y, s):
        y[tuple(m.tensor(k) if isinstance(k, list) else k for k in key)] = s

    return write


for label, key, shape in (
    ("a row", (1,), (3,)), ("a column", (slice(None), 0), (2,)), ("an element", (0, 2), ()),
    ("steps", (slice(None), slice(None, None, 2)), (2,)), ("a mask", (MASK,), ()),
    ("an index", ([1, 0], [2, 0]), (2,)), ("all", (...,), (3,)),
):  # fmt: skip
    add(f"written: {label}", written(setitem(key)), A, shape)
add("written: a chain of views", written(through_a_chain), A, (2,))
add("written: read between", written(read_between), A, (3,))
for name in ("add_", "mul_", "div_", "copy_", "sub_"):
    add(f"written: {name}", written(lambda m, y, s, name=name: getattr(y[:, 1:], name)(s)), A,
        ((2,), "positive"))  # fmt: skip
for name in ("exp_", "tanh_", "zero_", "neg_", "sigmoid_"):
    add(f"written: {name}", written(lambda m, y, name=name: getattr(y[1], name)()), A)
add("written: clamp_", written(lambda m, y: y.t().clamp_(-0.8, 0.8)), Q)
add("written: masked_fill_", written(lambda m, y: y.masked_fill_(m.tensor(MASK), 0.5)), A)
add("written: index_add_", written(lambda m, y, s: y.index_add_(0, m.tensor([1, 1]), s)), A, A)
add("written: scatter_", written(lambda m, y, s: y.scatter_(1, m.tensor(TURNED), s)), A, A)
add("written: fill_diagonal_", written(lambda m, y: y.fill_diagonal_(0.5)), (3, 3))

TIED = {
    "abs at 0": lambda m, x: m.abs(x),
    "relu at 0": lambda m, x: m.relu(x - 1),
    "sqrt of x * x": lambda m, x: m.sqrt(x * x),
    "clamp at its ends": lambda m, x: x.clamp(0, 1),
    "maximum": lambda m, x: m.maximum(x, x.flip(0)),
    "minimum": lambda m, x: m.minimum(x, x.flip(1)),
    "fmax": lambda m, x: m.fmax(x, x.flip(0)),
    "fmin": lambda m, x: m.fmin(x, x.flip(1)),
    "max of all": lambda m, x: m.max(x),
    "min of all": lambda m, x: m.min(x),
    "max values": lambda m, x: m.max(x, 1)[0],
    "min values": lambda m, x: m.min(x, 0)[0],
    "amax": lambda m, x: m.amax(x, 1),
    "amin": lambda m, x: m.amin(x, (0, 1)),
    "cummax": lambda m, x: m.cummax(x, 1)[0],
    "cummin": lambda m, x: m.cummin(x, 1)[0],
    "median": lambda m, x: m.median(x, 1)[0],
    "prod": lambda m, x: m.prod(x, 1),
    "cumprod": lambda m, x: m.cumprod(x, 1),
    "norm": lambda m, x: m.norm(x * 0, 2, dim=1),
    "norm 1": lambda m, x: m.norm(x, 1, dim=1),
    "norm inf": lambda m, x: m.norm(x, float("inf"), dim=1),
    "norm of all": lambda m, x: m.norm(x * 0),
    "norm 3": lambda m, x: m.norm(x * 0, 3, dim=1),
    "norm 1/2": lambda m, x: m.norm(x, 0.5, dim=1),
    "std of equals": lambda m, x: m.std(x[:, :1].expand(2, 3), 1),
    "std_mean of equals": lambda m, x: sum(m.std_mean(x[:, :1].expand(2, 3))),
    "max with NaN": lambda m, x: m.max(x + m.where(x == 1, float("nan"), 0.0)),
    "sign": lambda m, x: m.sign(x),
    "floor": lambda m, x: m.floor(x * 0.4),
    "ceil": lambda m, x: m.ceil(x * 0.4) * x,
    "trunc": lambda m, x: m.trunc(x * 0.4),
    "round": lambda m, x: m.round(x * 0.4) + x,
    "div floor": lambda m, x: m.div(x, 3, rounding_mode="floor"),
    "div trunc": lambda m, x: m.div(x, 3, rounding_mode="trunc"),
    "pow 0": lambda m, x: x**0,
    "pow by a tensor": lambda m, x: m.pow(x.abs(), m.tensor([[0.0, 1.0, 2.0, 0.0]])),
    "sort": lambda m, x: m.sort(x, dim=1, stable=True)[0],
    "F.max_pool1d": lambda m, x: m.nn.functional.max_pool1d(x[None], 2, stride=1),
    "F.leaky_relu": lambda m, x: m.nn.functional.leaky_relu(x),
    "F.hardtanh": lambda m, x: m.nn.functional.hardtanh(x),
    "F.relu6": lambda m, x: m.nn.functional.relu6(x * 6),
    "F.hardswish": lambda m, x: m.nn.functional.hardswish(x * 3),
    "F.l1_loss": lambda m, x: m.nn.functional.l1_loss(x, x.detach().flip(0)),
    "F.smooth_l1_loss": lambda m, x: m.nn.functional.smooth_l1_loss(x, x.detach().flip(0)),
    "F.huber_loss": lambda m, x: m.nn.functional.huber_loss(x, x.detach().flip(0)),
    "var of equals": lambda m, x: m.var(x[:, :1].expand(2, 3), 1),
    "where": lambda m, x: m.where(x > 0, m.log(x), x),
}
"""Functions tried where elements are equal, 0 or 1: at the kinks PyTorch's choice is ours."""

SMOOTH = {
    "logaddexp": lambda m, x: m.logaddexp(x, x.flip(0)),
    "logaddexp2": lambda m, x: m.logaddexp2(x, x.flip(0)),
    "logcumsumexp": lambda m, x: m.logcumsumexp(x, 0),
    "logsumexp": lambda m, x: m.logsumexp(x, 0),
    "log_softmax": lambda m, x: m.log_softmax(x, 0),
    "hypot": lambda m, x: m.hypot(x, x * 0 + 2),
    "atan2": lambda m, x: m.atan2(x, x * 0 + 2),
    "asinh": lambda m, x: m.asinh(x),
    "erfc": lambda m, x: m.erfc(x),
    "sinh": lambda m, x: m.sinh(x),
    "cosh": lambda m, x: m.cosh(x),
    "F.logsigmoid": lambda m, x: m.nn.functional.logsigmoid(x),
    "F.softplus": lambda m, x: m.nn.functional.softplus(x),
    "F.mish": lambda m, x: m.nn.functional.mish(x),
    "F.silu": lambda m, x: m.nn.functional.silu(x),
    "F.gelu": lambda m, x: m.nn.functional.gelu(x),
    "F.binary_cross_entropy_with_logits": lambda m, x: (
        m.nn.functional.binary_cross_entropy_with_logits(x, x.detach() * 0 + 0.3)
    ),
    "F.cross_entropy": lambda m, x: m.nn.functional.cross_entropy(x[None], m.tensor([1])),
}
"""Smooth functions made of pieces with kinks: their second derivatives where the pieces meet."""
