"""Whole training runs against PyTorch: one program, two libraries, the same losses step by step.

Each model is written once, on `lib`, which is `tenor` or `torch`: it ports by changing the import.
"""

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.engine import flush
from tenor.engine.backend import ReferenceRunner
from tenor.engine.trace import reset_trie

torch.set_num_threads(1)
STEPS = 20


def mlp(lib):
    """Return a classifier of vectors."""
    nn = lib.nn
    return nn.Sequential(
        nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 24), nn.Tanh(), nn.Linear(24, 5)
    )


def cnn(lib):
    """Return a classifier of images: convolution, batch norm, pooling."""
    nn = lib.nn
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * 2 * 2, 10),
    )  # fmt: skip


def lstm(lib):
    """Return a classifier of sequences: two layers of LSTM."""
    nn = lib.nn

    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(6, 16, num_layers=2, batch_first=True)
            self.head = nn.Linear(16, 4)

        def forward(self, x):
            out, _ = self.rnn(x)
            return self.head(out[:, -1])

    return Reader()


def gpt(lib):
    """Return a small GPT: embeddings, four blocks of causal attention and GELU, tied weights."""
    nn, f = lib.nn, lib.nn.functional
    width, heads, vocabulary, context = 32, 4, 17, 12

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)

        def forward(self, x):
            b, t, _ = x.shape
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            split = (b, t, heads, width // heads)
            q, k, v = (y.reshape(split).transpose(1, 2) for y in (q, k, v))
            y = f.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out(y.transpose(1, 2).reshape(b, t, width))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.attention = nn.LayerNorm(width), Attention()
            self.norm2 = nn.LayerNorm(width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def forward(self, x):
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Embedding(vocabulary, width)
            self.position = nn.Embedding(context, width)
            self.blocks = nn.ModuleList([Block() for _ in range(4)])
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, vocabulary, bias=False)
            self.head.weight = self.token.weight

        def forward(self, x):
            h = self.token(x) + self.position(lib.arange(x.shape[1]))
            for block in self.blocks:
                h = block(h)
            return self.head(self.norm(h)).transpose(1, 2)

    return GPT()


def resnet(lib):
    """Return a small ResNet: three stages of residual blocks."""
    nn, f = lib.nn, lib.nn.functional

    class Block(nn.Module):
        def __init__(self, inside, outside, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(outside)
            self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(outside)
            self.shortcut = nn.Identity()
            if stride != 1 or inside != outside:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
                )

        def forward(self, x):
            y = f.relu(self.bn1(self.conv1(x)))
            return f.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        Block(8, 8, 1), Block(8, 16, 2), Block(16, 32, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 7),
    )  # fmt: skip


def unet(lib):
    """Return a small U-Net: down by pooling, up by transposed convolution, joined by cat."""
    nn = lib.nn

    def double(inside, outside):
        return nn.Sequential(
            nn.Conv2d(inside, outside, 3, padding=1), nn.GroupNorm(2, outside), nn.SiLU(),
            nn.Conv2d(outside, outside, 3, padding="same"), nn.GroupNorm(2, outside), nn.SiLU(),
        )  # fmt: skip

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.down1, self.down2, self.middle = double(1, 4), double(4, 8), double(8, 16)
            self.pool = nn.MaxPool2d(2)
            self.up2, self.up1 = nn.ConvTranspose2d(16, 8, 2, 2), nn.ConvTranspose2d(8, 4, 2, 2)
            self.join2, self.join1 = double(16, 8), double(8, 4)
            self.head = nn.Conv2d(4, 1, 1)

        def forward(self, x):
            a = self.down1(x)
            b = self.down2(self.pool(a))
            c = self.middle(self.pool(b))
            b = self.join2(lib.cat([b, self.up2(c)], dim=1))
            a = self.join1(lib.cat([a, self.up1(b)], dim=1))
            return self.head(a)

    return UNet()


def floats(*shape):
    """Return a maker of normal inputs."""
    return lambda rng: rng.standard_normal(shape).astype(np.float32)


def integers(high, *shape):
    """Return a maker of labels or tokens."""
    return lambda rng: rng.integers(0, high, shape)


def masks(*shape):
    """Return a maker of zeros and ones."""
    return lambda rng: (rng.random(shape) < 0.3).astype(np.float32)


MODELS = {
    # each model with its inputs, targets and loss
    "mlp": (mlp, floats(16, 20), integers(5, 16), "CrossEntropyLoss"),
    "cnn": (cnn, floats(8, 1, 16, 16), integers(10, 8), "CrossEntropyLoss"),
    "lstm": (lstm, floats(8, 7, 6), integers(4, 8), "CrossEntropyLoss"),
    "gpt": (gpt, integers(17, 4, 12), integers(17, 4, 12), "CrossEntropyLoss"),
    "resnet": (resnet, floats(4, 3, 12, 12), integers(7, 4), "CrossEntropyLoss"),
    "unet": (unet, floats(2, 1, 16, 16), masks(2, 1, 16, 16), "BCEWithLogitsLoss"),
}
OPTIMIZERS = {
    "sgd": ("SGD", {"lr": 0.05, "momentum": 0.9}),
    "adamw": ("AdamW", {"lr": 3e-3, "weight_decay": 0.05}),
}


def batches(name, count):
    """Return three batches, again and again: repetition makes the loss fall."""
    _, inputs, targets, _ = MODELS[name]
    rng = np.random.default_rng(3)
    made = [(inputs(rng), targets(rng)) for _ in range(3)]
    return [made[i % 3] for i in range(count)]


def train(lib, model, name, optimizer, steps):
    """Return the loss of each step."""
    kind, options = OPTIMIZERS[optimizer]
    step = getattr(lib.optim, kind)(model.parameters(), **options)
    criterion = getattr(lib.nn, MODELS[name][3])()
    losses = []
    for x, y in batches(name, steps):
        step.zero_grad()
        loss = criterion(model(lib.tensor(x)), lib.tensor(y))
        loss.backward()
        step.step()
        losses.append(loss.item())
    return losses


def pair(name):
    """Return (ours, theirs) with the same weights."""
    build = MODELS[name][0]
    torch.manual_seed(11)
    theirs = build(torch)
    ours = build(tn)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_losses_are_pytorchs_step_by_step(name, optimizer):
    ours, theirs = pair(name)
    wanted = train(torch, theirs, name, optimizer, STEPS)
    got = train(tn, ours, name, optimizer, STEPS)
    assert sum(wanted[-3:]) < sum(wanted[:3]), "a run that learns nothing shows nothing"
    np.testing.assert_allclose(got, wanted, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_trained_state_is_pytorchs(name):
    ours, theirs = pair(name)
    train(torch, theirs, name, "sgd", 3)
    train(tn, ours, name, "sgd", 3)
    for key, value in theirs.state_dict().items():
        mine = ours.state_dict()[key].numpy()
        np.testing.assert_allclose(mine, value.numpy(), rtol=2e-3, atol=2e-5, err_msg=key)


@pytest.fixture
def interpreted(monkeypatch):
    """Run everything by the NumPy interpreter, no plan of before among it; count the plans."""
    made = []
    load = flush.load
    monkeypatch.setattr(flush, "load", lambda graph: made.append(load(graph)) or made[-1])
    monkeypatch.setattr(tn.config, "backend", "reference")
    reset_trie()
    yield made
    reset_trie()


@pytest.mark.parametrize("name", MODELS)
def test_the_reference_interpreter_agrees(name, interpreted):
    ours, theirs = pair(name)
    wanted = train(torch, theirs, name, "adamw", 2)
    got = train(tn, ours, name, "adamw", 2)
    assert interpreted
    assert all(isinstance(runner, ReferenceRunner) for runner in interpreted)
    np.testing.assert_allclose(got, wanted, rtol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_a_compiled_step_gives_the_same_bits(name, optimizer):
    ours, theirs = pair(name)
    wanted = train(tn, ours, name, optimizer, 8)
    ours.load_state_dict(theirs.state_dict())
    kind, options = OPTIMIZERS[optimizer]
    opt = getattr(tn.optim, kind)(ours.parameters(), **options)
    criterion = getattr(tn.nn, MODELS[name][3])()

    @tn.compile
    def step(x, y):
        opt.zero_grad()
        loss = criterion(ours(x), y)
        loss.backward()
        opt.step()
        return loss

    got = [step(tn.tensor(x), tn.tensor(y)).item() for x, y in batches(name, 8)]
    assert got == wanted
    assert step.recordings <= 3, "a step that is recorded each time is not compiled"


def test_evaluation_after_a_compiled_step_uses_the_running_statistics():
    ours, theirs = pair("cnn")
    x, y = batches("cnn", 1)[0]
    criterion = tn.nn.CrossEntropyLoss()
    compiled = tn.compile(lambda x, y: criterion(ours(x), y))
    for _ in range(3):
        loss = compiled(tn.tensor(x), tn.tensor(y))
        wanted = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-4)
    ours.eval()
    theirs.eval()
    got, wanted = compiled(tn.tensor(x), tn.tensor(y)), theirs(torch.tensor(x))
    wanted = torch.nn.functional.cross_entropy(wanted, torch.tensor(y))
    assert got.item() == pytest.approx(wanted.item(), rel=1e-4)
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(
            ours.state_dict()[key].numpy(), value.numpy(), rtol=1e-4, atol=1e-6, err_msg=key
        )


@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm"])
def test_immediate_mode_agrees(name):
    ours, theirs = pair(name)
    wanted = train(torch, theirs, name, "adamw", 2)
    with tn.immediate():
        got = train(tn, ours, name, "adamw", 2)
    np.testing.assert_allclose(got, wanted, rtol=1e-4)
