"""Models that every exporter is tried on: name -> (module, example inputs)."""

import math

import numpy as np

import tenor as tn
from tenor import nn


class Separable(nn.Sequential):
    """A depthwise 3x3 and a pointwise convolution, each with its norm."""

    def __init__(self, come, go, stride):
        super().__init__(
            nn.Conv2d(come, come, 3, stride, 1, groups=come, bias=False),
            nn.BatchNorm2d(come),
            nn.ReLU(),
            nn.Conv2d(come, go, 1, bias=False),
            nn.BatchNorm2d(go),
            nn.ReLU(),
        )


def mobilenet(width=0.25, classes=2, channels=3):
    """MobileNetV1 (Howard et al. 2017) for 96x96 images."""
    rows = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    rows += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    layers, come = [], int(32 * width)
    layers += [nn.Conv2d(channels, come, 3, 2, 1, bias=False), nn.BatchNorm2d(come), nn.ReLU()]
    for go, stride in rows:
        layers.append(Separable(come, int(go * width), stride))
        come = int(go * width)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(come, classes))


def keywords(classes=12):
    """DS-CNN (Zhang et al. 2018) on 49 frames of 10 MFCCs."""
    layers = [nn.Conv2d(1, 64, (10, 4), 2, (5, 1), bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers += [Separable(64, 64, 1) for _ in range(4)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


def digits():
    """The demo's network, with its preprocessing and classes as probabilities."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.25), nn.Linear(512, 10), nn.Softmax(-1),
    )  # fmt: skip


def mlp():
    """1.46 M parameters."""
    return nn.Sequential(
        nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(),
        nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10),
    )  # fmt: skip


class Residual(nn.Module):
    """Two convolutions and a shortcut, pooled both ways."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.head = nn.Linear(3, 5)

    def forward(self, x):
        y = (x + self.b(nn.functional.silu(self.a(x)))).relu()
        y = nn.functional.avg_pool2d(nn.functional.max_pool2d(y, 3, 2, 1), 2)
        return self.head(y.mean((2, 3)))


class Unet(nn.Module):
    """Down, up, and what was before beside it."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 8, 3, padding=1)
        self.mid = nn.Conv2d(8, 16, 3, padding=1, stride=2)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.out = nn.Conv2d(16, 2, 1)

    def forward(self, x):
        a = nn.functional.leaky_relu(self.down(x))
        b = self.up(self.mid(a).relu())
        return self.out(tn.cat([a, b], 1)).sigmoid()


class Recurrent(nn.Module):
    """Words, an LSTM, and classes from its last state."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(40, 12)
        self.lstm = nn.LSTM(12, 16, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, tokens):
        return self.head(self.lstm(self.words(tokens))[0][:, -1])


class Transformer(nn.Module):
    """A causal transformer of two layers."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(50, 16), nn.Embedding(12, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")
        self.layers = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, 50)

    def forward(self, tokens):
        x = self.words(tokens) * math.sqrt(16) + self.places(tn.arange(12))
        return self.head(self.layers(x))


class Tabular(nn.Module):
    """Raw rows in, classes out: preprocessing is part of the model."""

    def __init__(self):
        super().__init__()
        self.embed = nn.ModuleList([nn.Embedding(n, 4) for n in (7, 11, 3)])
        self.net = nn.Sequential(nn.Linear(17, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4))
        self.register_buffer("mean", tn.tensor([1.0, -2.0, 0.5, 10.0, 0.0]))
        self.register_buffer("std", tn.tensor([2.0, 1.0, 0.1, 5.0, 1.0]))

    def forward(self, numbers, kinds):
        x = ((numbers - self.mean) / self.std).clamp(-3, 3)
        parts = [table(kinds[:, i]) for i, table in enumerate(self.embed)]
        logits = self.net(tn.cat([x, *parts], 1))
        return {"probabilities": logits.softmax(-1), "label": logits.argmax(-1)}


class Sound(nn.Module):
    """A 1-d convolution stack with dilation, groups and a cumulative sum."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv1d(1, 8, 9, stride=2)
        self.b = nn.Conv1d(8, 8, 3, dilation=2, groups=4, padding=2)
        self.norm = nn.GroupNorm(2, 8)

    def forward(self, x):
        y = nn.functional.elu(self.norm(self.b(self.a(x).tanh())))
        return y.cumsum(-1).amax(-1).log_softmax(-1)


def trained(model, *inputs):
    """Give norms statistics of their own, so that folding them in is not the identity."""
    model.train()
    with tn.no_grad():
        for _ in range(3):
            model(*inputs)
    return model.eval()


def images(rows, *shape, seed=0):
    """Return arrays between 0 and 1."""
    return np.random.default_rng(seed).random((rows, *shape), np.float32)


def tokens(rows, length, count, seed=0):
    """Return integers below count."""
    return np.random.default_rng(seed).integers(0, count, (rows, length))


ZOO = {
    "digits": (digits, lambda: (images(16, 1, 8, 8),)),
    "mlp": (mlp, lambda: (images(16, 784),)),
    "keywords": (keywords, lambda: (images(16, 1, 49, 10),)),
    "mobilenet": (mobilenet, lambda: (images(16, 3, 96, 96),)),
    "residual": (Residual, lambda: (images(16, 3, 12, 12),)),
    "unet": (Unet, lambda: (images(16, 1, 16, 16),)),
    "recurrent": (Recurrent, lambda: (tokens(16, 9, 40),)),
    "transformer": (Transformer, lambda: (tokens(16, 12, 50),)),
    "tabular": (Tabular, lambda: (images(16, 5) * 4 - 2, tokens(16, 3, 3))),
    "sound": (Sound, lambda: (images(16, 1, 200) - 0.5,)),
}


def bundle(name, path):
    """Save a model of the zoo, its weights from a fixed seed; return the path and its inputs."""
    make, example = ZOO[name]
    tn.manual_seed(7)
    inputs = example()
    model = trained(make(), *map(tn.tensor, inputs))
    tn.save(model, path, example_inputs=inputs if len(inputs) > 1 else inputs[0], name=name)
    return path, inputs
