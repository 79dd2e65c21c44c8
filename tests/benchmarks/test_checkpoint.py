"""checkpoint trades memory for a second forward pass, inside one program."""

import pytest
from tenor.utils.checkpoint import checkpoint

import tenor as tn
from tenor.engine.backend import observers


def program_of(use):
    """Return the arena and the launches of a step through six blocks, and its gradients."""
    tn.manual_seed(0)
    blocks = [tn.nn.Sequential(tn.nn.Linear(64, 256), tn.nn.Tanh(), tn.nn.Linear(256, 64))
              for _ in range(6)]  # fmt: skip
    x = tn.randn(512, 64)
    x.tolist()
    made = []
    observers.append(lambda graph, program: made.append(program))
    try:
        y = x
        for block in blocks:
            y = checkpoint(block, y) if use else block(y)
        y.square().mean().backward()
        found = [p.grad.tolist() for block in blocks for p in block.parameters()]
    finally:
        observers.pop()
    program = max(made, key=lambda p: len(p.launches))
    return program.arena, len(program.launches), found


def test_checkpoint_holds_less_and_computes_more():
    arena, launches, wanted = program_of(use=False)
    smaller, more, found = program_of(use=True)
    assert found == wanted
    assert more > launches
    # Kept: a block's input for each; besides, one block's values at a time.
    assert smaller < 0.5 * arena


@pytest.mark.parametrize("use", [False, True])
def test_a_step_is_one_program_however_large_its_values_would_be(use):
    """Values that pass in registers do not count as memory that is waited for."""
    x = tn.zeros(1 << 22, requires_grad=True)
    y = x
    made = []
    observers.append(lambda graph, program: made.append(program))
    try:
        for _ in range(150):  # 150 results of 16 MB
            y = checkpoint(lambda v: v * 1.01, y) if use else y * 1.01
        y.sum().backward()
        x.grad.sum().item()
    finally:
        observers.pop()
    assert len(made) == 1
