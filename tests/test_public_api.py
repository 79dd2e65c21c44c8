"""What users call: every name is there, does what PyTorch's does, and says what it is."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import types

import pytest
import torch

import tenor as tn
from tenor import nn
from tests.ops.oracle import agree, given

F = nn.functional


def words(text):
    return text.split()


# -- the promised names ---------------------------------------------------------------------------
FUNCTIONS = words("""
    cat tensor no_grad zeros randn arange stack manual_seed ones device from_numpy
    zeros_like rand equal randint allclose load empty mean exp sum save full log ones_like sin
    linspace sqrt cos randn_like clamp where max concat abs matmul compile chunk autocast meshgrid
    split norm sigmoid randperm all einsum bmm isnan eye tanh""")
METHODS = words("""
    to size view split unsqueeze reshape sum mean repeat flatten float transpose item cpu
    backward max numpy log permute chunk detach abs sqrt squeeze norm expand tolist clone exp numel
    repeat_interleave softmax contiguous clamp dim argmax new_zeros long std masked_fill cumsum
    gather index_select flip unbind""")
LAYERS = words("""
    Linear Sequential ModuleList Parameter Dropout Conv2d Identity LayerNorm ReLU Embedding
    GELU BatchNorm2d SiLU Conv1d Softmax Tanh MSELoss CrossEntropyLoss Flatten LeakyReLU Sigmoid
    BatchNorm1d MaxPool2d GroupNorm ModuleDict AvgPool2d Conv3d LSTM ConvTranspose2d Upsample
    AdaptiveAvgPool2d AdaptiveMaxPool2d Module MultiheadAttention GRU RNN RMSNorm L1Loss
    BCEWithLogitsLoss BCELoss NLLLoss SmoothL1Loss ELU Softplus TransformerEncoder
    TransformerEncoderLayer""")
FUNCTIONAL = words("""
    pad dropout log_softmax mse_loss relu cross_entropy nll_loss softmax
    scaled_dot_product_attention normalize linear silu layer_norm conv2d
    binary_cross_entropy_with_logits leaky_relu elu max_pool2d softplus l1_loss avg_pool2d one_hot
    conv1d kl_div smooth_l1_loss gelu interpolate grid_sample gumbel_softmax""")
REST = {
    tn.optim: ["SGD", "Adam", "AdamW", "RMSprop", "lr_scheduler"],
    tn.data: ["DataLoader", "Dataset", "TensorDataset", "random_split"],
    tn.train: [
        "Model",
        "History",
        "ProgressBar",
        "TensorBoard",
        "EarlyStopping",
        "ModelCheckpoint",
    ],
    tn: ["Model", "immediate", "compile", "autograd", "from_dlpack", "load", "save"],
    tn.autograd: ["grad", "Function", "checkpoint", "gradcheck", "gradgradcheck"],
}
PLACES = {tn: FUNCTIONS, tn.Tensor: METHODS, nn: LAYERS, F: FUNCTIONAL}
PROMISED = [
    (place, name)
    for table in (PLACES, REST)
    for place, names in table.items()
    for name in dict.fromkeys(names)
]


@pytest.mark.parametrize(("place", "name"), PROMISED, ids=lambda x: getattr(x, "__name__", x))
def test_a_promised_name_is_there_and_callable(place, name, count):
    found = getattr(place, name)
    assert callable(found) or isinstance(found, types.ModuleType)
    count("public", "promised name")


# -- what they do ---------------------------------------------------------------------------------
X = torch.tensor([[0.5, -1.25, 2.0], [1.5, 0.25, -0.75]])
Y = torch.tensor([[1.0, 0.5, -2.0], [0.25, 3.0, 1.0]])
P = X.abs() + 0.5
K = torch.tensor([2, 0, 1])
B = X > 0
IMAGE = torch.linspace(-1, 1, 32).reshape(1, 2, 4, 4)
KERNEL = torch.linspace(-0.5, 1, 36).reshape(2, 2, 3, 3)
LABELS = torch.tensor([2, 0])

CALLS = {
    "cat": lambda m, x, y: m.cat([x, y], dim=1), "stack": lambda m, x, y: m.stack([x, y], 1),
    "concat": lambda m, x, y: m.concat([x, y]),
    "tensor": lambda m, x, y: m.tensor([[1, 2], [3, 4]], dtype=m.float64),
    "zeros": lambda m, x, y: m.zeros(2, 3), "ones": lambda m, x, y: m.ones((2, 3), dtype=m.int32),
    "full": lambda m, x, y: m.full((2, 2), 1.5), "eye": lambda m, x, y: m.eye(2, 3),
    "arange": lambda m, x, y: m.arange(1, 9, 3), "linspace": lambda m, x, y: m.linspace(0, 1, 5),
    "zeros_like": lambda m, x, y: m.zeros_like(x), "ones_like": lambda m, x, y: m.ones_like(x),
    "from_numpy": lambda m, x, y: m.from_numpy(X.numpy()),
    "equal": lambda m, x, y: (m.equal(x, x), m.equal(x, y)),
    "allclose": lambda m, x, y: (m.allclose(x, x + 1e-9), m.allclose(x, y)),
    "mean": lambda m, x, y: m.mean(x, dim=1, keepdim=True), "sum": lambda m, x, y: m.sum(x, 0),
    "max": lambda m, x, y: (m.max(x), *m.max(x, 1), m.max(x, y)),
    "norm": lambda m, x, y: m.norm(x, 2, dim=1), "all": lambda m, x, y: m.all(x > -2, dim=0),
    "exp": lambda m, x, y: m.exp(x), "log": lambda m, x, y: m.log(x.abs()),
    "sin": lambda m, x, y: m.sin(x), "cos": lambda m, x, y: m.cos(x),
    "sqrt": lambda m, x, y: m.sqrt(x.abs()), "abs": lambda m, x, y: m.abs(x),
    "tanh": lambda m, x, y: m.tanh(x), "sigmoid": lambda m, x, y: m.sigmoid(x),
    "isnan": lambda m, x, y: m.isnan(x / x.trunc()), "clamp": lambda m, x, y: m.clamp(x, -1, 1),
    "where": lambda m, x, y: m.where(x > y, x, y), "matmul": lambda m, x, y: m.matmul(x, y.T),
    "bmm": lambda m, x, y: m.bmm(x[None], y.T[None]),
    "einsum": lambda m, x, y: m.einsum("ij,kj->ik", x, y),
    "chunk": lambda m, x, y: m.chunk(x, 2, 1), "split": lambda m, x, y: m.split(x, [1, 2], 1),
    "meshgrid": lambda m, x, y: m.meshgrid(x[0], y[1], indexing="ij"),
}  # fmt: skip
"""Functions of `tn`, the same in PyTorch."""

BY_METHOD = {
    "to": lambda x: (x.to("cpu"), x.to(x.dtype)), "size": lambda x: (x.size(0), tuple(x.size())),
    "view": lambda x: x.view(3, 2), "split": lambda x: x.split(2, dim=1),
    "unsqueeze": lambda x: x.unsqueeze(1), "reshape": lambda x: x.reshape(-1),
    "sum": lambda x: (x.sum(), x.sum(1)), "mean": lambda x: x.mean((0, 1)),
    "repeat": lambda x: x.repeat(2, 1, 1), "flatten": lambda x: x.flatten(),
    "float": lambda x: x.double().float(), "transpose": lambda x: x.transpose(0, 1),
    "item": lambda x: x[0, 1].item(), "cpu": lambda x: x.cpu(),
    "max": lambda x: (x.max(), *x.max(dim=1)), "numpy": lambda x: x.numpy().tolist(),
    "log": lambda x: x.abs().log(), "permute": lambda x: x.permute(1, 0),
    "chunk": lambda x: x.chunk(3, -1), "detach": lambda x: x.detach(), "abs": lambda x: x.abs(),
    "sqrt": lambda x: x.abs().sqrt(), "squeeze": lambda x: x[None].squeeze(0),
    "norm": lambda x: (x.norm(), x.norm(dim=1)), "expand": lambda x: x[:1].expand(4, 3),
    "tolist": lambda x: x.tolist(), "clone": lambda x: x.clone(), "exp": lambda x: x.exp(),
    "numel": lambda x: x.numel(), "repeat_interleave": lambda x: x.repeat_interleave(2, 0),
    "softmax": lambda x: x.softmax(1), "contiguous": lambda x: x.T.contiguous(),
    "clamp": lambda x: x.clamp(min=0), "dim": lambda x: x.dim(), "argmax": lambda x: x.argmax(1),
    "new_zeros": lambda x: x.new_zeros(2, 2), "long": lambda x: x.long(),
    "std": lambda x: x.std(1), "masked_fill": lambda x: x.masked_fill(x > 0, 9.0),
    "cumsum": lambda x: x.cumsum(1), "gather": lambda x: x.gather(1, x.argsort(1)),
    "index_select": lambda x: x.index_select(1, x[0].argsort()), "flip": lambda x: x.flip(0),
    "unbind": lambda x: x.unbind(1),
}  # fmt: skip
"""Methods of a tensor, the same in PyTorch."""

BY_FUNCTIONAL = {
    "pad": lambda f, x: f.pad(x, (1, 2), value=3.0), "relu": lambda f, x: f.relu(x),
    "dropout": lambda f, x: (f.dropout(x, 0.5, training=False), f.dropout(x, 0.0)),
    "log_softmax": lambda f, x: f.log_softmax(x, dim=1),
    "softmax": lambda f, x: f.softmax(x, dim=0),
    "mse_loss": lambda f, x: f.mse_loss(x, x.flip(0)), "l1_loss": lambda f, x: f.l1_loss(x, -x),
    "cross_entropy": lambda f, x: f.cross_entropy(x, like(x, LABELS)),
    "nll_loss": lambda f, x: f.nll_loss(x, like(x, LABELS), reduction="sum"),
    "scaled_dot_product_attention": lambda f, x: f.scaled_dot_product_attention(
        x[None], x[None] * 2, x[None] + 1),
    "normalize": lambda f, x: f.normalize(x), "linear": lambda f, x: f.linear(x, x * 2, x[:, 0]),
    "silu": lambda f, x: f.silu(x), "layer_norm": lambda f, x: f.layer_norm(x, (3,)),
    "conv2d": lambda f, x: f.conv2d(like(x, IMAGE), like(x, KERNEL), padding=1),
    "conv1d": lambda f, x: f.conv1d(like(x, IMAGE)[0][:, :2], like(x, KERNEL)[0][:, :2], stride=2),
    "binary_cross_entropy_with_logits": lambda f, x: f.binary_cross_entropy_with_logits(
        x, like(x, B.float())),
    "leaky_relu": lambda f, x: f.leaky_relu(x, 0.2), "elu": lambda f, x: f.elu(x),
    "max_pool2d": lambda f, x: f.max_pool2d(like(x, IMAGE), 2),
    "avg_pool2d": lambda f, x: f.avg_pool2d(like(x, IMAGE), 2),
    "softplus": lambda f, x: f.softplus(x), "gelu": lambda f, x: f.gelu(x),
    "one_hot": lambda f, x: f.one_hot(like(x, K), 4),
    "kl_div": lambda f, x: f.kl_div(x, x.softmax(1), reduction="sum"),
    "smooth_l1_loss": lambda f, x: f.smooth_l1_loss(x, x * 3),
    "interpolate": lambda f, x: f.interpolate(like(x, IMAGE), scale_factor=2, mode="bilinear"),
    "grid_sample": lambda f, x: f.grid_sample(
        like(x, IMAGE), x[:, :2].reshape(1, 1, 2, 2), align_corners=False),
}  # fmt: skip
"""Functions of `nn.functional`, the same in PyTorch."""


def like(x, held):
    """Return a PyTorch tensor in x's library."""
    return held if isinstance(x, torch.Tensor) else given(held)


@pytest.mark.parametrize("name", CALLS)
def test_a_function_is_pytorchs(name, count):
    agree(CALLS[name](tn, given(X), given(Y)), CALLS[name](torch, X, Y))
    count("public", "function against PyTorch")


@pytest.mark.parametrize("name", BY_METHOD)
def test_a_method_is_pytorchs(name, count):
    agree(BY_METHOD[name](given(X)), BY_METHOD[name](X))
    count("public", "function against PyTorch")


@pytest.mark.parametrize("name", BY_FUNCTIONAL)
def test_a_functional_is_pytorchs(name, count):
    agree(BY_FUNCTIONAL[name](F, given(X)), BY_FUNCTIONAL[name](torch.nn.functional, X))
    count("public", "function against PyTorch")


def seeded(call):
    tn.manual_seed(4)
    return call()


OURS = {
    "no_grad": lambda: not (tn.no_grad()(lambda: given(X).requires_grad_() * 2)()).requires_grad,
    "manual_seed": lambda: tn.manual_seed(3).initial_seed() == 3,
    "device": lambda: str(tn.device("cpu")) == "cpu" and given(X).device == tn.device("cpu"),
    "empty": lambda: tn.empty(2, 3).shape == (2, 3),
    "compile": lambda: tn.compile(lambda x: x * 2)(given(X)).tolist() == (X * 2).tolist(),
    "autocast": lambda: autocast_product().dtype is tn.bfloat16,
    "randn": lambda: moments(seeded(lambda: tn.randn(4000)), 0, 1),
    "rand": lambda: moments(seeded(lambda: tn.rand(4000)), 0.5, 12**-0.5),
    "randn_like": lambda: moments(seeded(lambda: tn.randn_like(tn.ones(4000))), 0, 1),
    "randint": lambda: set(seeded(lambda: tn.randint(2, 5, (99,))).tolist()) == {2, 3, 4},
    "randperm": lambda: sorted(tn.randperm(9).tolist()) == list(range(9)),
}


def autocast_product():
    with tn.autocast("cpu"):
        return given(X) @ given(Y).T


def moments(x, mean, deviation):
    return abs(x.mean().item() - mean) < 0.06 and abs(x.std().item() - deviation) < 0.06


@pytest.mark.parametrize("name", OURS)
def test_what_has_no_equal_in_pytorch(name, count):
    assert OURS[name]()
    count("public", "function with a check of its own")


def test_save_and_load(tmp_path):
    tn.save({"x": given(X)}, tmp_path / "x.safetensors")
    agree(tn.load(tmp_path / "x.safetensors")["x"], X)


def test_backward():
    x = given(X).requires_grad_()
    (x * x).sum().backward()
    agree(x.grad, 2 * X)


def test_every_promised_function_is_tried():
    assert set(FUNCTIONS) == {*CALLS, *OURS, "load", "save"}
    assert set(METHODS) == {*BY_METHOD, "backward"}
    assert set(FUNCTIONAL) == {*BY_FUNCTIONAL, "gumbel_softmax"}  # tests/unit/nn/test_sample.py


# -- layers ---------------------------------------------------------------------------------------
IMAGES, SIGNAL, TABLE, SEQUENCE = (1, 3, 4, 5), (4, 3, 5), (12, 5), (4, 3, 5)
PLAIN = words("""Identity ReLU GELU SiLU Tanh Flatten LeakyReLU Sigmoid ELU Softplus""")
MADE = {
    **{name: (lambda m, name=name: getattr(m.nn, name)(), TABLE) for name in PLAIN},
    "Linear": (lambda m: m.nn.Linear(5, 2), TABLE),
    "Sequential": (lambda m: m.nn.Sequential(m.nn.Linear(5, 4), m.nn.ReLU()), TABLE),
    "Dropout": (lambda m: m.nn.Dropout(0.5).eval(), TABLE),
    "Conv1d": (lambda m: m.nn.Conv1d(3, 2, 3, padding=1), SIGNAL),
    "Conv2d": (lambda m: m.nn.Conv2d(3, 2, 3, stride=2, padding=1), IMAGES),
    "Conv3d": (lambda m: m.nn.Conv3d(1, 2, 2), (1, 1, 3, 4, 5)),
    "ConvTranspose2d": (lambda m: m.nn.ConvTranspose2d(3, 2, 2, stride=2), IMAGES),
    "LayerNorm": (lambda m: m.nn.LayerNorm(5), TABLE),
    "RMSNorm": (lambda m: m.nn.RMSNorm(5), TABLE),
    "GroupNorm": (lambda m: m.nn.GroupNorm(3, 3), SIGNAL),
    "BatchNorm1d": (lambda m: m.nn.BatchNorm1d(5), TABLE),
    "BatchNorm2d": (lambda m: m.nn.BatchNorm2d(3), IMAGES),
    "Softmax": (lambda m: m.nn.Softmax(dim=1), TABLE),
    "MaxPool2d": (lambda m: m.nn.MaxPool2d(2), IMAGES),
    "AvgPool2d": (lambda m: m.nn.AvgPool2d(2), IMAGES),
    "AdaptiveAvgPool2d": (lambda m: m.nn.AdaptiveAvgPool2d(2), IMAGES),
    "AdaptiveMaxPool2d": (lambda m: m.nn.AdaptiveMaxPool2d(2), IMAGES),
    "Upsample": (lambda m: m.nn.Upsample(size=(7, 3), mode="bilinear"), IMAGES),
    "LSTM": (lambda m: m.nn.LSTM(5, 4, batch_first=True), SEQUENCE),
    "GRU": (lambda m: m.nn.GRU(5, 4, batch_first=True), SEQUENCE),
    "RNN": (lambda m: m.nn.RNN(5, 4, batch_first=True), SEQUENCE),
    "TransformerEncoderLayer": (
        lambda m: m.nn.TransformerEncoderLayer(5, 1, 8, 0.0, batch_first=True), SEQUENCE),
    "TransformerEncoder": (lambda m: m.nn.TransformerEncoder(
        m.nn.TransformerEncoderLayer(5, 1, 8, 0.0, batch_first=True), 2,
        **({"enable_nested_tensor": False} if m is torch else {})), SEQUENCE),
}  # fmt: skip
LOSSES = ("MSELoss", "L1Loss", "SmoothL1Loss", "BCELoss", "BCEWithLogitsLoss")


@pytest.mark.parametrize("name", MADE)
def test_a_layer_is_pytorchs(name, count):
    make, shape = MADE[name]
    theirs, ours = make(torch), make(tn)
    ours.load_state_dict({k: given(v) for k, v in theirs.state_dict().items()})
    x = torch.linspace(-1, 1.5, 60).reshape(shape)
    with torch.no_grad(), tn.no_grad():
        want, got = theirs(x), ours(given(x))
    if name in ("LSTM", "GRU", "RNN"):
        want, got = want[0], got[0]
    agree(got, want, 5e-5)
    count("public", "layer against PyTorch")


def test_the_other_layers(count):
    x = torch.linspace(0.1, 0.9, 6).reshape(2, 3)
    for name in LOSSES:
        agree(getattr(nn, name)()(given(x), given(x.flip(0))),
              getattr(torch.nn, name)()(x, x.flip(0)))  # fmt: skip
    for name in ("CrossEntropyLoss", "NLLLoss"):
        agree(getattr(nn, name)()(given(x), given(LABELS)), getattr(torch.nn, name)()(x, LABELS))
    table = torch.nn.Embedding(4, 3)
    ours = nn.Embedding(4, 3)
    ours.load_state_dict({"weight": given(table.weight.detach())})
    agree(ours(given(K)).detach(), table(K).detach())
    theirs = torch.nn.MultiheadAttention(6, 2, batch_first=True)
    attention = nn.MultiheadAttention(6, 2, batch_first=True)
    attention.load_state_dict({k: given(v) for k, v in theirs.state_dict().items()})
    q = torch.linspace(-1, 1, 36).reshape(2, 3, 6)
    agree(attention(given(q), given(q), given(q))[0].detach(), theirs(q, q, q)[0].detach(), 5e-5)
    held = nn.ModuleDict({"a": nn.ModuleList([nn.Linear(2, 2)])})
    assert list(held.state_dict()) == ["a.0.weight", "a.0.bias"]
    assert nn.Parameter(given(X)).requires_grad
    tried = {*MADE, *LOSSES, "CrossEntropyLoss", "NLLLoss", "Embedding", "MultiheadAttention",
             "ModuleDict", "ModuleList", "Parameter", "Module"}  # fmt: skip
    assert set(LAYERS) == tried
    count("public", "layer against PyTorch", len(tried) - len(MADE))


# -- what they say --------------------------------------------------------------------------------
ROOMS = (tn, nn, F, nn.init, tn.autograd, tn.optim, tn.optim.lr_scheduler, tn.data, tn.metrics,
         tn.train, nn.quantized, nn.quantized.dynamic)  # fmt: skip
TABLES = {"NAMES", "LOSSES", "OPTIMIZERS"}
"""Dicts; their docstrings stand under them."""
NUMBERS = {"e", "inf", "nan", "newaxis", "pi"}
"""Python's own, which say nothing of themselves."""


def first_sentence(found):
    text = (inspect.getdoc(found) or "").split("\n\n")[0]
    return re.split(r"(?<=\.)\s", " ".join(text.split()))[0]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_every_public_name_says_what_it_is(room, count):
    silent = []
    for name in dict.fromkeys(room.__all__):
        if name in TABLES | NUMBERS:
            continue
        sentence = first_sentence(getattr(room, name))
        if len(sentence) < 8 or sentence[-1] != ".":
            silent.append((name, sentence))
        count("public", "docstring")
    assert not silent, f"{room.__name__}: no first sentence that ends in a period: {silent}"


@pytest.mark.parametrize("kind", [tn.Tensor, nn.Module, tn.Model, tn.optim.Optimizer])
def test_every_public_method_says_what_it_is(kind, count):
    names = [n for n in dir(kind) if not n.startswith("_") and callable(getattr(kind, n))]
    silent = [n for n in names if not first_sentence(getattr(kind, n)).endswith(".")]
    assert not silent, f"{kind.__name__}: {silent}"
    count("public", "docstring", len(names))


@pytest.mark.parametrize("room", [*ROOMS, tn.Tensor], ids=lambda room: room.__name__)
def test_nothing_public_is_left_unwritten(room, count):
    names = [n for n in getattr(room, "__all__", dir(room)) if not n.startswith("_")]
    for name in names:
        found = inspect.unwrap(getattr(room, name))
        if inspect.isfunction(found) or inspect.isclass(found):
            assert "NotImplementedError" not in inspect.getsource(found), name
            count("public", "written name")


# -- the examples ---------------------------------------------------------------------------------
def modules():
    names = [m.name for m in pkgutil.walk_packages(tn.__path__, "tenor.")]
    return [tn, *(importlib.import_module(n) for n in names if not n.endswith("__main__"))]


def examples(module):
    return [t for t in doctest.DocTestFinder(exclude_empty=True).find(module) if t.examples]


MODULES = modules()
WITH_EXAMPLES = {m.__name__: m for m in MODULES if examples(m)}


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module_are_true(name, count, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tn.manual_seed(0)
    story = []
    runner = doctest.DocTestRunner()
    for test in examples(WITH_EXAMPLES[name]):
        runner.run(test, out=story.append)
    assert runner.failures == 0, "".join(story)
    count("public", "example line", runner.tries)


def test_the_packages_show_how_they_are_used():
    assert len(WITH_EXAMPLES) >= 40
    shown = {name.split(".")[1] for name in WITH_EXAMPLES if "." in name}
    assert shown >= {"tensor", "nn", "optim", "data", "metrics", "train", "save"}


# -- NumPy's spellings ----------------------------------------------------------------------------
Z = torch.zeros(2, 3, dtype=torch.int64)
ARGUMENTS = {
    "cat": ([X, Y],), "concat": ([X, Y],), "concatenate": ([X, Y],), "stack": ([X, Y],),
    "chunk": (X, 2), "split": (X, 1), "tensor_split": (X, 2), "split_with_sizes": (X, [1, 1]),
    "narrow": (X, {"dim": 0}, 0, 1), "select": (X, {"dim": 0}, 0), "kthvalue": (X, 1),
    "quantile": (X, 0.5), "topk": (X, 1), "norm": (X, 2), "repeat_interleave": (X, 2),
    "gather": (X, {"dim": 0}, Z), "scatter": (X, {"dim": 0}, Z, Y),
    "scatter_add": (X, {"dim": 0}, Z, Y), "scatter_reduce": (X, {"dim": 0}, Z, Y, "sum"),
    "index_select": (X, {"dim": 0}, Z[0]), "index_add": (X, {"dim": 0}, Z[0, :2], Y),
    "index_copy": (X, {"dim": 0}, K[:2] % 2, Y), "index_fill": (X, {"dim": 0}, Z[0], 2.0),
    "take_along_dim": (X, Z), "cross": (X.T, Y.T), "renorm": (X, 2, {"dim": 0}, 1.0),
    "unflatten": (X, {"dim": 0}, (1, 2)), "cosine_similarity": (X, Y),
    "squeeze": (X[:1],),
}  # fmt: skip
"""Arguments beside or instead of a matrix; after the dict, where dim stands, go by keyword."""
LATER = {
    "narrow": ("start", "length"), "select": ("index",), "gather": ("index",),
    "scatter": ("index", "src"), "scatter_add": ("index", "src"),
    "scatter_reduce": ("index", "src", "reduce"), "index_select": ("index",),
    "index_add": ("index", "source"), "index_copy": ("index", "source"),
    "index_fill": ("index", "value"), "renorm": ("maxnorm",), "unflatten": ("sizes",),
}  # fmt: skip


def with_dims():
    """Return every public function and method that has a `dim` or `keepdim`."""
    found = []
    for room in (tn, F, tn.Tensor):
        for name in dict.fromkeys(getattr(room, "__all__", dir(room))):
            function = getattr(room, name)
            if name.startswith("_") or not inspect.isroutine(function):
                continue
            try:
                parameters = inspect.signature(function).parameters
            except ValueError:  # written in C
                continue
            if "dim" in parameters:
                found.append((room, name, "keepdim" in parameters))
    return found


def called(room, name, **spelled):
    """Call a function with its dim (and keepdim) by keyword."""
    tn.manual_seed(0)
    args, keywords, alone = [], {}, name.removesuffix("_")
    given_ones = list(ARGUMENTS.get(alone, (X,)))
    for k, a in enumerate(given_ones):
        if isinstance(a, dict):
            rest = given_ones[k + 1 :]
            keywords = {n: translated(v) for n, v in zip(LATER[alone], rest, strict=True)}
            break
        args.append(translated(a))
    return getattr(room, name)(*args, **keywords, **spelled)


def translated(a):
    if isinstance(a, torch.Tensor):
        return given(a)
    return [translated(v) for v in a] if isinstance(a, list) else a


def plain(found):
    if isinstance(found, (tuple, list)):
        return [plain(f) for f in found]
    return (tuple(found.shape), found.tolist()) if isinstance(found, tn.Tensor) else found


@pytest.mark.parametrize(
    ("room", "name", "keeps"), with_dims(), ids=lambda x: getattr(x, "__name__", x)
)
def test_axis_and_keepdims_are_dim_and_keepdim(room, name, keeps, count):
    for keep in (False, True) if keeps else (None,):
        ours = {} if keep is None else {"keepdim": keep}
        theirs = {} if keep is None else {"keepdims": keep}
        assert plain(called(room, name, axis=0, **theirs)) == plain(
            called(room, name, dim=0, **ours)
        )
        count("public", "spelling")


IN_PLACE = ("cumsum_", "cumprod_", "scatter_", "scatter_add_", "scatter_reduce_", "index_add_",
            "index_copy_", "index_fill_", "renorm_")  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
def test_axis_is_dim_in_place(name, count):
    alone = name.removesuffix("_")
    want = plain(called(tn.Tensor, alone, dim=0))
    args = [a for a in ARGUMENTS.get(alone, (X,)) if not isinstance(a, dict)]
    x = given(args[0])
    whole = ARGUMENTS.get(alone, (X, {}))
    after = next(k for k, a in enumerate(whole) if isinstance(a, dict))
    keywords = zip(LATER.get(alone, ()), map(translated, args[after:]), strict=True)
    found = getattr(x, name)(*map(translated, args[1:after]), axis=0, **dict(keywords))
    assert plain(found) == want
    assert plain(x) == want
    count("public", "spelling")


def test_there_are_many_functions_of_dims():
    assert len(with_dims()) > 120
