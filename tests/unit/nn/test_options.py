"""What single layers can be told, beyond what every layer is tested for."""

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, ShapeError

nn = tn.nn


def twins(name, *args, **kwargs):
    """Return a layer of ours and PyTorch's with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*args, **kwargs)
    ours = getattr(nn, name)(*args, **kwargs)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


# -- recurrent --------------------------------------------------------------------------------
@pytest.mark.parametrize("batch_first", [False, True])
def test_lstm_starts_from_given_states(batch_first, agree):
    ours, theirs = twins("LSTM", 4, 3, 2, batch_first=batch_first, bidirectional=True)
    shapes = [(5, 2, 4) if not batch_first else (2, 5, 4), (4, 2, 3), (4, 2, 3)]
    agree(lambda x, h, c: ours(x, (h, c)), lambda x, h, c: theirs(x, (h, c)), shapes)


def test_lstm_of_one_sequence_takes_states_without_a_batch(agree):
    ours, theirs = twins("LSTM", 4, 3)
    shapes = [(5, 4), (1, 3), (1, 3)]
    agree(lambda x, h, c: ours(x, (h, c)), lambda x, h, c: theirs(x, (h, c)), shapes)


def test_lstm_cell_steps_like_the_layer(agree):
    ours, theirs = twins("LSTMCell", 4, 3)
    shapes = [(2, 4), (2, 3), (2, 3)]
    agree(lambda x, h, c: ours(x, (h, c)), lambda x, h, c: theirs(x, (h, c)), shapes)


def test_dropout_between_recurrent_layers_acts_in_training_only():
    tn.manual_seed(0)
    model = nn.GRU(4, 8, num_layers=2, dropout=0.5)
    x = tn.randn(6, 2, 4)
    first, second = model(x)[0].detach().numpy(), model(x)[0].detach().numpy()
    assert not np.array_equal(first, second)
    model.eval()
    first, second = model(x)[0].detach().numpy(), model(x)[0].detach().numpy()
    assert np.array_equal(first, second)
    single = nn.GRU(4, 8, dropout=0.0)
    assert np.array_equal(single(x)[0].detach().numpy(), single(x)[0].detach().numpy())


def test_states_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match=r"\(2, 3, 5\)") as error:
        nn.GRU(4, 5, num_layers=2)(tn.zeros(7, 3, 4), tn.zeros(1, 3, 5))
    assert "layers * directions" in str(error.value)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_a_sequence_has_a_time(name):
    with pytest.raises(ShapeError, match="must have a time"):
        getattr(nn, name)(4, 3)(tn.zeros(0, 2, 4))


def test_a_cell_refuses_other_features():
    with pytest.raises(ShapeError, match=r"\(N, 4\)"):
        nn.LSTMCell(4, 3)(tn.zeros(2, 5))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.LSTM(4, 3, dropout=1.5),
        lambda: nn.LSTM(4, 0),
        lambda: nn.LSTM(4, 3, num_layers=0),
        lambda: nn.LSTM(4, 3, proj_size=3),
        lambda: nn.RNN(4, 3, nonlinearity="gelu"),
        lambda: nn.Conv2d(3, 4, 3, groups=2),
        lambda: nn.Conv2d(3, 4, 3, padding="full"),
        lambda: nn.Conv2d(3, 4, 3, padding="same", stride=2),
        lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"),
        lambda: nn.Conv2d(3, 4, (3, 3, 3)),
        lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="circular"),
        lambda: nn.Conv2d(3, 4, 3.0),
        lambda: nn.Conv2d(3, 4, 0),
        lambda: nn.GroupNorm(0, 4),
        lambda: nn.GroupNorm(3, 4),
        lambda: nn.Embedding(4, 2, padding_idx=4),
        lambda: nn.Dropout(-0.5),
        lambda: nn.Hardtanh(2.0, 0.5)(tn.zeros(1)),
        lambda: nn.Conv2d(1, 1, 1, stride=0)(tn.zeros(1, 1, 4, 4)),
        lambda: nn.Conv2d(1, 1, 1, padding=-1)(tn.zeros(1, 1, 4, 4)),
        lambda: nn.Conv2d(1, 1, 1, dilation=0)(tn.zeros(1, 1, 4, 4)),
        lambda: nn.ConvTranspose2d(1, 1, 3, output_padding=1)(tn.zeros(1, 1, 4, 4)),
        lambda: nn.ConvTranspose2d(1, 1, 3, stride=2, output_padding=-1)(tn.zeros(1, 1, 4, 4)),
        lambda: nn.MaxPool2d(2, stride=0)(tn.zeros(1, 1, 4, 4)),
        lambda: nn.AvgPool2d(2, padding=-1)(tn.zeros(1, 1, 4, 4)),
        lambda: nn.AdaptiveAvgPool2d(0)(tn.zeros(1, 1, 4, 4)),
    ],
)
def test_arguments_out_of_their_domain_are_refused(make):
    with pytest.raises(ArgumentError) as error:
        make()
    assert "got:" in str(error.value)
    assert "fix:" in str(error.value)


# -- convolution ------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(9, 11), (10, 12)])
def test_a_transposed_convolution_makes_a_wanted_size(size, agree):
    ours, theirs = twins("ConvTranspose2d", 3, 4, 3, stride=2, padding=1)
    agree(lambda x: ours(x, size), lambda x: theirs(x, size), [(2, 3, 5, 6)])


def test_a_transposed_convolution_refuses_a_size_it_cannot_make():
    with pytest.raises(ArgumentError, match=r"\[9, 10\]"):
        nn.ConvTranspose1d(3, 4, 3, stride=2, padding=1)(tn.zeros(1, 3, 5), (12,))


@pytest.mark.parametrize("make", [nn.MaxPool2d, nn.AvgPool2d])
def test_a_window_larger_than_the_image_is_refused(make):
    with pytest.raises(ShapeError, match="window does not fit"):
        make(5)(tn.zeros(1, 1, 4, 4))


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_layers_may_have_no_features():
    for ours, theirs in [
        (nn.Linear(0, 3), torch.nn.Linear(0, 3)),
        (nn.Linear(4, 0), torch.nn.Linear(4, 0)),
    ]:
        x = np.ones((2, theirs.in_features), np.float32)
        ours.load_state_dict(theirs.state_dict())
        wanted = theirs(torch.tensor(x)).detach().numpy()
        assert np.array_equal(ours(tn.tensor(x)).detach().numpy(), wanted)


# -- embedding --------------------------------------------------------------------------------
@pytest.mark.parametrize("freeze", [True, False])
def test_an_embedding_of_given_rows(freeze):
    rows = tn.tensor([[1.0, 2.0], [3.0, 4.0]])
    layer = nn.Embedding.from_pretrained(rows, freeze=freeze)
    assert layer(tn.tensor([1, 0])).tolist() == [[3.0, 4.0], [1.0, 2.0]]
    assert layer.weight.requires_grad != freeze
    with pytest.raises(ShapeError, match="matrix"):
        nn.Embedding.from_pretrained(tn.ones(3))


def test_rows_looked_up_are_shortened_and_others_are_not():
    ours, theirs = twins("Embedding", 5, 3, max_norm=0.5)
    ours(tn.tensor([1, 3]))
    theirs(torch.tensor([1, 3]))
    np.testing.assert_allclose(
        ours.weight.detach().numpy(), theirs.weight.detach().numpy(), rtol=1e-5
    )


def test_the_padding_row_begins_as_zeros():
    layer = nn.Embedding(4, 3, padding_idx=2)
    assert layer.weight[2].tolist() == [0.0] * 3
    assert (layer.weight[1].detach().numpy() != 0).all()


# -- modes ------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["Dropout", "Dropout1d", "Dropout2d"])
def test_dropout_acts_in_training_only(name):
    tn.manual_seed(0)
    layer, x = getattr(nn, name)(0.5), tn.ones(8, 8, 3, 3)[..., 0] if name[-2] == "1" else (
        tn.ones(8, 8, 3, 3)
    )  # fmt: skip
    assert set(np.unique(layer(x).numpy())) == {0.0, 2.0}
    assert layer.eval()(x) is x


def test_batch_norm_in_evaluation_moves_nothing():
    layer = nn.BatchNorm1d(3).eval()
    layer(tn.randn(4, 3))
    assert layer.running_mean.tolist() == [0.0] * 3
    assert layer.num_batches_tracked.item() == 0


def test_batch_norm_statistics_have_no_gradient_and_can_be_forgotten():
    layer = nn.BatchNorm1d(3)
    layer(tn.randn(4, 3) + 5).sum().backward()
    assert not layer.running_mean.requires_grad
    assert layer.running_mean.tolist() != [0.0] * 3
    layer.reset_running_stats()
    assert layer.running_mean.tolist() == [0.0] * 3
    assert layer.running_var.tolist() == [1.0] * 3
    assert layer.num_batches_tracked.item() == 0


def test_two_batches_before_a_look_move_the_statistics_twice():
    layer, twin = nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = rng.standard_normal((4, 2)).astype(np.float32)
        layer(tn.tensor(x))
        twin(torch.tensor(x))
    np.testing.assert_allclose(layer.running_var.numpy(), twin.running_var.numpy(), rtol=1e-5)
    assert layer.num_batches_tracked.item() == 3


def test_losses_with_weights_keep_them_as_buffers():
    loss = nn.CrossEntropyLoss(weight=tn.tensor([1.0, 2.0]))
    assert list(loss.state_dict()) == ["weight"]
    assert list(nn.CrossEntropyLoss().state_dict()) == []


LOSSES = [
    ("MSELoss", {}), ("L1Loss", {"reduction": "sum"}), ("SmoothL1Loss", {"beta": 0.5}),
    ("HuberLoss", {"delta": 0.5}), ("BCEWithLogitsLoss", {}), ("KLDivLoss", {"reduction": "sum"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kwargs"), LOSSES)
def test_a_loss_layer_is_its_function(name, kwargs, agree):
    ours, theirs = getattr(nn, name)(**kwargs), getattr(torch.nn, name)(**kwargs)
    target = np.random.default_rng(0).random((4, 3)).astype(np.float32)
    agree(lambda x: ours(x, tn.tensor(target)), lambda x: theirs(x, torch.tensor(target)), [(4, 3)])


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
def test_a_class_loss_layer_is_its_function(name, agree):
    kwargs = {"ignore_index": 1, "reduction": "sum"}
    ours, theirs = getattr(nn, name)(**kwargs), getattr(torch.nn, name)(**kwargs)
    target = np.array([0, 1, 2, 2])
    agree(lambda x: ours(x, tn.tensor(target)), lambda x: theirs(x, torch.tensor(target)), [(4, 3)])


def test_bce_loss_of_probabilities(agree):
    target = np.random.default_rng(0).random((4,)).astype(np.float32)
    agree(
        lambda x: nn.BCELoss()(x.sigmoid(), tn.tensor(target)),
        lambda x: torch.nn.BCELoss()(x.sigmoid(), torch.tensor(target)),
        [(4,)],
    )
