"""Initial values against PyTorch's: distributions, matrices, gains, generators."""

import math

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, ShapeError

nn = tn.nn

DRAWS = {
    "uniform_": (-2.0, 3.0), "normal_": (1.0, 0.5), "xavier_uniform_": (2.0,),
    "xavier_normal_": (2.0,), "kaiming_uniform_": (0.5, "fan_out"), "kaiming_normal_": (0.0,),
    "trunc_normal_": (0.5, 1.0, -0.5, 1.5), "zeros_": (), "ones_": (), "constant_": (3.0,),
    "orthogonal_": (2.0,), "sparse_": (0.3, 2.0), "eye_": (),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWS)
def test_a_distribution_is_pytorchs(name):
    torch.manual_seed(0)
    tn.manual_seed(0)
    ours, theirs = tn.empty(200, 150), torch.empty(200, 150)
    assert getattr(nn.init, name)(ours, *DRAWS[name]) is ours
    getattr(torch.nn.init, name)(theirs, *DRAWS[name])
    mine, its = np.sort(ours.numpy().ravel()), np.sort(theirs.numpy().ravel())
    wide = its[-1] - its[0]
    inner = slice(30, -30)  # the tails of a normal distribution differ from draw to draw
    np.testing.assert_allclose(mine[inner], its[inner], atol=0.03 * wide, rtol=1e-6)


@pytest.mark.parametrize(
    "nonlinearity",
    ["linear", "conv2d", "conv_transpose3d", "relu", "tanh", "sigmoid", "selu", "leaky_relu"],
)
def test_gains_are_pytorchs(nonlinearity):
    theirs = torch.nn.init.calculate_gain(nonlinearity)
    assert nn.init.calculate_gain(nonlinearity) == pytest.approx(theirs)


@pytest.mark.parametrize(
    "name", [n for n in DRAWS if n not in ("zeros_", "ones_", "constant_", "eye_")]
)
def test_a_generator_draws_initial_values(name):
    drawn = []
    for seed in (1, 1, 2):
        tensor = tn.empty(20, 10)
        generator = tn.Generator().manual_seed(seed)
        getattr(nn.init, name)(tensor, *DRAWS[name], generator=generator)
        drawn.append(tensor.numpy())
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (4, 2, 3), (0, 3)], ids=str)
def test_an_orthogonal_matrix_is_one(shape):
    weight = nn.init.orthogonal_(tn.empty(*shape, dtype=tn.float64), gain=3.0)
    m = weight.numpy().reshape(shape[0], math.prod(shape[1:])) / 3.0
    small = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    np.testing.assert_allclose(small, np.eye(min(m.shape)), atol=1e-12)


def test_orthogonal_matrices_are_drawn_evenly():
    tn.manual_seed(0)
    corners = [nn.init.orthogonal_(tn.empty(2, 2))[0, 0].item() for _ in range(200)]
    assert abs(np.mean(corners)) < 0.15  # QR alone would leave every corner negative


def test_sparse_columns_have_their_share_of_zeros():
    tn.manual_seed(0)
    matrix = nn.init.sparse_(tn.empty(9, 40), 0.3).numpy()
    assert ((matrix == 0).sum(0) == 3).all()
    assert len({tuple(column) for column in (matrix == 0).T}) > 20, "each column has its own"


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shape", [(4, 2, 3), (4, 6, 2, 3), (2, 4, 3, 1, 2)], ids=str)
def test_dirac_and_eye_are_pytorchs(shape, groups):
    ours, theirs = tn.empty(*shape, dtype=tn.float64), torch.empty(shape, dtype=torch.float64)
    assert nn.init.dirac_(ours, groups) is ours
    assert np.array_equal(ours.numpy(), torch.nn.init.dirac_(theirs, groups).numpy())
    ours, theirs = tn.empty(*shape[:2]), torch.empty(shape[:2])
    assert np.array_equal(nn.init.eye_(ours).numpy(), torch.nn.init.eye_(theirs).numpy())


REFUSED = {
    "eye_": (2, 2, 2), "sparse_": (2,), "dirac_": (2, 2), "orthogonal_": (3,),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_init_refuses_other_dims(name):
    more = {"sparse_": (0.1,)}.get(name, ())
    with pytest.raises(ShapeError, match=f"{name}: fills"):
        getattr(nn.init, name)(tn.empty(*REFUSED[name]), *more)


def test_wrong_arguments_of_init_are_refused():
    with pytest.raises(ArgumentError, match="a share"):
        nn.init.sparse_(tn.empty(2, 2), 1.5)
    with pytest.raises(ShapeError, match="groups"):
        nn.init.dirac_(tn.empty(3, 2, 2), 2)
    with pytest.raises(ArgumentError, match="nonlinearity"):
        nn.init.calculate_gain("swish")
    with pytest.raises(ArgumentError, match="fan_in"):
        nn.init.kaiming_uniform_(tn.empty(2, 2), mode="fan")
    with pytest.raises(ShapeError, match="two dims"):
        nn.init.xavier_uniform_(tn.empty(2))


def test_init_leaves_gradients_alone():
    p = nn.Parameter(tn.ones(2))
    nn.init.zeros_(p)
    assert p.is_leaf
    (p * math.pi).sum().backward()
    assert p.grad.tolist() == pytest.approx([math.pi] * 2)
