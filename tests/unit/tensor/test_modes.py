"""Modes: gradients on and off, as blocks, decorators and on generators; immediate mode."""

import threading

import pytest

import tenor as tn
from tenor.engine.trace import local, reset_trie

X = tn.ones(2, requires_grad=True)


def needs():
    return (X * 2).requires_grad


def test_blocks_nest_and_end_with_an_error():
    assert needs()
    with tn.no_grad():
        assert not needs()
        with tn.enable_grad():
            assert needs()
            with tn.inference_mode():
                assert tn.is_inference_mode_enabled()
                assert not needs()
            with tn.inference_mode(False):
                assert needs()
        assert not needs()
    with pytest.raises(KeyError), tn.no_grad():
        raise KeyError
    assert needs()
    assert tn.is_grad_enabled()


def test_one_object_may_be_entered_again():
    mode = tn.no_grad()
    with mode:
        with mode:
            assert not needs()
        assert not needs()
    assert needs()


def test_decorators():
    @tn.no_grad()
    def one():
        return needs()

    @tn.no_grad
    def two(x, *, y=1):
        """Say whether, with arguments."""
        return needs(), x, y

    @tn.set_grad_enabled(False)
    def three():
        return needs()

    assert not one()
    assert two(5, y=6) == (False, 5, 6)
    assert two.__name__ == "two"
    assert not three()
    assert needs()
    with tn.no_grad():
        assert tn.enable_grad()(needs)()


def test_a_generator_is_run_in_the_mode_and_its_caller_is_not():
    @tn.no_grad()
    def steps():
        try:
            sent = yield needs()
            yield sent, needs()
        finally:
            closed.append(needs())

    closed = []
    made = steps()
    assert next(made) is False
    assert needs()
    assert made.send("a") == ("a", False)
    assert needs()
    made.close()
    assert closed == [False]
    assert list(steps()) == [False, (None, False)]

    @tn.no_grad()
    def catches():
        try:
            yield 1
        except KeyError:
            yield needs()
        return "end"

    made = catches()
    next(made)
    assert made.throw(KeyError()) is False
    with pytest.raises(StopIteration) as caught:
        next(made)
    assert caught.value.value == "end"


def test_set_grad_enabled_stays_until_it_is_set_again():
    tn.set_grad_enabled(False)
    try:
        assert not needs()
    finally:
        tn.set_grad_enabled(True)
    assert needs()
    with tn.set_grad_enabled(False):
        assert not needs()
    assert needs()


def test_a_thread_has_its_own_mode():
    found = []
    with tn.no_grad():
        thread = threading.Thread(target=lambda: found.append(tn.is_grad_enabled()))
        thread.start()
        thread.join()
        assert not tn.is_grad_enabled()
    assert found == [True]


def test_immediate_mode_leaves_nothing_pending():
    before = tn.ones(3) + 1
    with tn.immediate():
        assert before.within is None
        y = tn.ones(3) * 2 + before
        assert y.within is None
        assert not local.trace.outs
    z = tn.ones(3) * 2
    assert z.within is local.trace
    assert y.tolist() == [4.0] * 3


def test_immediate_mode_says_where_an_index_is_wrong():
    reset_trie()  # another test may have recorded the same operation at a line of its own
    with tn.immediate(), pytest.raises(IndexError) as caught:
        tn.arange(3.0)[tn.tensor([5])]
    assert "test_modes.py" in str(caught.value)


def test_autocast_checks_its_dtype_and_nests():
    with pytest.raises(tn.errors.DTypeError, match="bfloat16 or float16"):
        tn.autocast("cpu", tn.int8)
    with tn.autocast("cpu", tn.float16):
        assert tn.is_autocast_enabled()
        assert (tn.ones(2, 2) @ tn.ones(2, 2)).dtype is tn.float16
        with tn.autocast("cpu", enabled=False):
            assert (tn.ones(2, 2) @ tn.ones(2, 2)).dtype is tn.float32
    assert not tn.is_autocast_enabled()
