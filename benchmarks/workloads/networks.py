"""The networks, once for every library with PyTorch's names.

Each function takes the library (`tenor` or `torch`) and returns a module. JAX has no modules:
`workloads/functional.py` holds the same networks as functions of the same named arrays.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

__all__ = [
    "cnn",
    "decoder",
    "encoder",
    "gpt",
    "lstm",
    "mlp",
    "mobilenet_v2",
    "normed",
    "resnet18",
    "resnet18_small",
    "resnet50",
    "tabular",
    "unet",
    "waves",
]  # fmt: skip

FIELDS = (10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
"""Rows of the twelve embedding tables of the tabular workload."""


def mlp(lib: Any, sizes: tuple[int, ...] = (784, 512, 512, 10)) -> Any:
    """Linear layers with ReLU between them."""
    nn = lib.nn
    layers: list[Any] = []
    for i, (m, n) in enumerate(pairwise(sizes)):
        layers += [nn.ReLU()] * bool(i) + [nn.Linear(m, n)]
    return nn.Sequential(*layers)


def cnn(lib: Any) -> Any:
    """conv32-conv64-pool-fc128-fc10 on 28x28."""
    nn = lib.nn
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 12 * 12, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def normed(lib: Any) -> Any:
    """conv16-norm-pool-conv32-pool-fc10 on 28x28."""
    nn = lib.nn
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 10),
    )  # fmt: skip


def _basic(lib: Any, channels: int, out: int, stride: int) -> Any:
    """ResNet's block of two 3x3 convolutions."""
    nn, relu = lib.nn, lib.nn.functional.relu

    class Basic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(out)
            self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(out)
            self.shortcut = (
                nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
                if stride > 1 or channels != out
                else nn.Identity()
            )

        def forward(self, x: Any) -> Any:
            y = relu(self.bn1(self.conv1(x)))
            return relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    return Basic()


def _bottleneck(lib: Any, channels: int, width: int, stride: int) -> Any:
    """ResNet's block of 1x1, 3x3 and 1x1 convolutions."""
    nn, relu = lib.nn, lib.nn.functional.relu
    out = 4 * width

    class Bottleneck(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3 = nn.Conv2d(width, out, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(out)
            self.shortcut = (
                nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
                if stride > 1 or channels != out
                else nn.Identity()
            )

        def forward(self, x: Any) -> Any:
            y = relu(self.bn1(self.conv1(x)))
            y = relu(self.bn2(self.conv2(y)))
            return relu(self.bn3(self.conv3(y)) + self.shortcut(x))

    return Bottleneck()


def _stem(lib: Any, small: bool) -> list[Any]:
    nn = lib.nn
    if small:
        return [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    return [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]  # fmt: skip


def _resnet18(lib: Any, classes: int, small: bool) -> Any:
    nn = lib.nn
    layers, channels = _stem(lib, small), 64
    for out in (64, 128, 256, 512):
        for i in range(2):
            layers.append(_basic(lib, channels, out, 2 if out > 64 and not i else 1))
            channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


def resnet18_small(lib: Any) -> Any:
    """ResNet-18 for 32x32 images of ten classes: a 3x3 stem and no first pooling."""
    return _resnet18(lib, 10, small=True)


def resnet18(lib: Any) -> Any:
    """ResNet-18 for 224x224 images of a thousand classes."""
    return _resnet18(lib, 1_000, small=False)


def resnet50(lib: Any) -> Any:
    """ResNet-50 for 224x224 images of a thousand classes."""
    nn = lib.nn
    layers, channels = _stem(lib, small=False), 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for i in range(blocks):
            layers.append(_bottleneck(lib, channels, width, 2 if width > 64 and not i else 1))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1_000))


def _inverted(lib: Any, channels: int, out: int, stride: int, expand: int) -> Any:
    """MobileNetV2's block: widen, one convolution a channel, narrow."""
    nn = lib.nn
    hidden = channels * expand

    class Inverted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widen = (
                [nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6()]
                if expand != 1
                else []
            )
            self.body = nn.Sequential(
                *widen,
                nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
                nn.BatchNorm2d(hidden),
                nn.ReLU6(),
                nn.Conv2d(hidden, out, 1, bias=False),
                nn.BatchNorm2d(out),
            )

        def forward(self, x: Any) -> Any:
            return x + self.body(x) if stride == 1 and channels == out else self.body(x)

    return Inverted()


def mobilenet_v2(lib: Any) -> Any:
    """MobileNetV2 (Sandler et al. 2018) for 224x224 images of a thousand classes."""
    nn = lib.nn
    layers = [nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()]
    channels = 32
    for expand, out, count, first in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):  # fmt: skip
        for i in range(count):
            layers.append(_inverted(lib, channels, out, first if not i else 1, expand))
            channels = out
    layers += [nn.Conv2d(channels, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1_000))


def _block(lib: Any, width: int, heads: int, *, causal: bool) -> Any:
    """A pre-norm transformer block over packed query, key and value."""
    nn, F = lib.nn, lib.nn.functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln1 = nn.LayerNorm(width)
            self.qkv = nn.Linear(width, 3 * width)
            self.proj = nn.Linear(width, width)
            self.ln2 = nn.LayerNorm(width)
            self.fc1 = nn.Linear(width, 4 * width)
            self.fc2 = nn.Linear(4 * width, width)

        def split(self, x: Any) -> Any:
            b, t, _ = x.shape
            parts = lib.permute(
                self.qkv(x).reshape(b, t, 3, heads, width // heads), (2, 0, 3, 1, 4)
            )
            return parts[0], parts[1], parts[2]

        def finish(self, x: Any, attended: Any) -> Any:
            b, t, _ = x.shape
            x = x + self.proj(lib.permute(attended, (0, 2, 1, 3)).reshape(b, t, width))
            return x + self.fc2(F.gelu(self.fc1(self.ln2(x)), approximate="tanh"))

        def forward(self, x: Any) -> Any:
            q, k, v = self.split(self.ln1(x))
            return self.finish(x, F.scaled_dot_product_attention(q, k, v, is_causal=causal))

        def step(self, x: Any, keys: Any, values: Any, at: Any, mask: Any) -> Any:
            """One token against what a cache of fixed length holds; returns the new cache."""
            q, k, v = self.split(self.ln1(x))
            keys, values = lib.where(at, k, keys), lib.where(at, v, values)
            y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
            return self.finish(x, y), keys, values

    return Block()


def _causal(
    lib: Any, layers: int, width: int, heads: int, context: int, vocabulary: int
) -> Any:  # fmt: skip
    """What a GPT and its decoder are made of; each says how it goes through it."""
    nn = lib.nn

    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(vocabulary, width)
            self.positions = nn.Embedding(context, width)
            self.blocks = nn.ModuleList(
                [_block(lib, width, heads, causal=True) for _ in range(layers)]
            )
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, vocabulary, bias=False)

    return Causal


def gpt(
    lib: Any, layers: int = 4, width: int = 256, heads: int = 4, context: int = 128,
    vocabulary: int = 1_024,
) -> Any:  # fmt: skip
    """A decoder-only transformer: tokens (batch, time) to logits (batch * time, vocabulary)."""

    class GPT(_causal(lib, layers, width, heads, context, vocabulary)):
        def forward(self, tokens: Any) -> Any:
            x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x)).reshape(-1, vocabulary)

    return GPT()


def decoder(lib: Any, layers: int = 6, width: int = 384, heads: int = 6, context: int = 256) -> Any:
    """A GPT that takes one token, its position and the keys and values of those before it.

    The caches are `(layers, 1, heads, context, width / heads)`; it returns the logits and both
    caches with the token's row filled in.
    """

    class Decoder(_causal(lib, layers, width, heads, context, 1_024)):
        def forward(self, token: Any, position: Any, keys: Any, values: Any) -> Any:
            x = self.tokens(token) + self.positions(position)
            places = lib.arange(context)
            mask = (places <= position.reshape(1, 1)).reshape(1, 1, 1, context)
            at = (places == position.reshape(1, 1)).reshape(1, 1, context, 1)
            new_keys, new_values = [], []
            for i, block in enumerate(self.blocks):
                x, k, v = block.step(x, keys[i], values[i], at, mask)
                new_keys.append(k)
                new_values.append(v)
            return self.head(self.norm(x)), lib.stack(new_keys), lib.stack(new_values)

    return Decoder()


def encoder(lib: Any, layers: int = 6, width: int = 384, heads: int = 6) -> Any:
    """A transformer encoder over 128 tokens of a vocabulary of 8,192, averaged over time."""
    nn = lib.nn

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(8_192, width)
            self.positions = nn.Embedding(128, width)
            self.blocks = nn.ModuleList(
                [_block(lib, width, heads, causal=False) for _ in range(layers)]
            )
            self.norm = nn.LayerNorm(width)

        def forward(self, tokens: Any) -> Any:
            x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
            for block in self.blocks:
                x = block(x)
            return self.norm(x).mean(1)

    return Encoder()


def lstm(lib: Any) -> Any:
    """Two LSTM layers of 256 over 64 steps of 128 numbers, and ten classes from the last step."""
    nn = lib.nn

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(128, 256, num_layers=2, batch_first=True)
            self.head = nn.Linear(256, 10)

        def forward(self, x: Any) -> Any:
            y, _ = self.lstm(x)
            return self.head(y[:, -1])

    return Recurrent()


def tabular(lib: Any) -> Any:
    """Twelve embeddings of 16 and twenty numbers into a perceptron of three layers."""
    nn = lib.nn

    class Tabular(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tables = nn.ModuleList([nn.Embedding(rows, 16) for rows in FIELDS])
            self.head = mlp(lib, (16 * len(FIELDS) + 20, 256, 128, 2))

        def forward(self, codes: Any, numbers: Any) -> Any:
            found = [table(codes[:, i]) for i, table in enumerate(self.tables)]
            return self.head(lib.cat([*found, numbers], 1))

    return Tabular()


def unet(lib: Any) -> Any:
    """A U-Net of three levels on 64x64 images of three channels, two classes a pixel."""
    nn = lib.nn

    def twice(m: int, n: int) -> Any:
        return nn.Sequential(
            nn.Conv2d(m, n, 3, padding=1), nn.ReLU(), nn.Conv2d(n, n, 3, padding=1), nn.ReLU()
        )

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down1, self.down2, self.bottom = twice(3, 16), twice(16, 32), twice(32, 64)
            self.pool = nn.MaxPool2d(2)
            self.up2, self.merge2 = nn.ConvTranspose2d(64, 32, 2, 2), twice(64, 32)
            self.up1, self.merge1 = nn.ConvTranspose2d(32, 16, 2, 2), twice(32, 16)
            self.head = nn.Conv2d(16, 2, 1)

        def forward(self, x: Any) -> Any:
            a = self.down1(x)
            b = self.down2(self.pool(a))
            c = self.bottom(self.pool(b))
            b = self.merge2(lib.cat([self.up2(c), b], 1))
            return self.head(self.merge1(lib.cat([self.up1(b), a], 1)))

    return UNet()


def waves(lib: Any) -> Any:
    """A stack of 1-D convolutions over 16,000 samples, ten classes."""
    nn = lib.nn
    return nn.Sequential(
        nn.Conv1d(1, 32, 80, stride=4, padding=38), nn.BatchNorm1d(32), nn.ReLU(), nn.MaxPool1d(4),
        nn.Conv1d(32, 32, 3, padding=1), nn.BatchNorm1d(32), nn.ReLU(), nn.MaxPool1d(4),
        nn.Conv1d(32, 64, 3, padding=1), nn.BatchNorm1d(64), nn.ReLU(), nn.MaxPool1d(4),
        nn.Conv1d(64, 64, 3, padding=1), nn.BatchNorm1d(64), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
