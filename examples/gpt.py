"""A small GPT that learns to write, a character at a time.

Every shape is the same at every step, also while it writes: the text so far is padded to the
length of the context, and the causal mask keeps the padding from being seen. So there is one
program to compile, however long the text becomes.
"""

from __future__ import annotations

import tenor as tn
from tenor import nn
from tenor.nn import functional as F

tn.manual_seed(0)
TEXT = """the cat sat on the mat. the dog sat on the log. the cow ran to the farm. a bird sang in
the tree. the sun set on the hill. the cat ran to the tree. a dog sat in the sun. """.replace(
    "\n", " "
)
LETTERS = sorted(set(TEXT))
CONTEXT, WIDTH, HEADS, LAYERS, BATCH = 48, 64, 4, 2, 24
data = tn.tensor([LETTERS.index(c) for c in TEXT * 3])


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: tn.Tensor) -> tn.Tensor:
        batch, time, _ = x.shape
        heads = self.qkv(self.norm1(x)).reshape(batch, time, 3, HEADS, WIDTH // HEADS)
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, time, WIDTH))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(len(LETTERS), WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*[Block() for _ in range(LAYERS)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(LETTERS))

    def forward(self, tokens: tn.Tensor) -> tn.Tensor:
        x = self.token(tokens) + self.place(tn.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x)))


@tn.no_grad()
def write(model: GPT, start: str, letters: int, temperature: float = 0.7) -> str:
    tokens = [LETTERS.index(c) for c in start]
    for _ in range(letters):
        seen = tokens[-CONTEXT:]
        scores = model(tn.tensor([seen + [0] * (CONTEXT - len(seen))]))
        last = scores[0, tn.tensor(len(seen) - 1)]
        tokens.append(tn.multinomial((last / temperature).softmax(-1), 1).item())
    return "".join(LETTERS[t] for t in tokens)


model = GPT()
optimizer = tn.optim.AdamW(model.parameters(), lr=2e-3)
for step in range(301):
    at = tn.randint(0, len(data) - CONTEXT, (BATCH,)).tolist()
    x = tn.stack([data[i : i + CONTEXT] for i in at])
    y = tn.stack([data[i + 1 : i + 1 + CONTEXT] for i in at])
    loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        print(f"step {step:3}  loss {loss.item():.3f}")
print(write(model.eval(), "the ", 120))
