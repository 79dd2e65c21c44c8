"""The doctor: finds what is there, and what is broken."""

import numpy as np
import pytest

from tenor.cli import doctor
from tenor.config import config


def test_a_sound_installation_is_well(capsys):
    assert doctor.doctor() == 0
    text = capsys.readouterr().out
    for name in doctor.CHECKS:
        assert name in text
    assert "failed" not in text


def test_wrong_numbers_fail_the_self_test(monkeypatch):
    monkeypatch.setattr(doctor, "_compiled", lambda _g, _a: np.zeros((33, 17), np.float32))
    well, text = doctor.self_test()
    assert not well
    assert "differs from the interpreter" in text


def test_nan_fails_the_self_test(monkeypatch):
    monkeypatch.setattr(doctor, "_compiled", lambda _g, _a: np.full((33, 17), np.nan, np.float32))
    assert not doctor.self_test()[0]


def test_a_failed_check_is_an_exit_status(monkeypatch, capsys):
    def broken():
        raise RuntimeError("no such thing")

    monkeypatch.setitem(doctor.CHECKS, "cpu", broken)
    assert doctor.doctor() == 1
    text = capsys.readouterr().out
    assert "RuntimeError: no such thing" in text
    assert "failed: cpu" in text


def test_a_missing_extra_is_no_failure(monkeypatch):
    monkeypatch.setitem(doctor.EXTRAS, "serve", ("surely_not_installed",))
    well, text = doctor.CHECKS["extra serve"]()
    assert well
    assert "tenor[serve]" in text


def test_a_missing_package_is_a_failure():
    assert not doctor._package("surely-not-installed")()[0]


@pytest.mark.parametrize("value", ["llvm", "reference"])
def test_the_backend_is_named(monkeypatch, value):
    monkeypatch.setattr(config, "backend", value)
    assert doctor.CHECKS["backend"]() == (True, value)


def test_the_cache_says_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "cache_dir", tmp_path / "objects")
    monkeypatch.setattr(config, "cache", True)
    well, text = doctor.CHECKS["cache"]()
    assert well
    assert str(tmp_path) in text
    assert "0 kernels" in text
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    monkeypatch.setattr(config, "cache_dir", blocked)
    assert "cannot be written" in doctor.CHECKS["cache"]()[1]
    monkeypatch.setattr(config, "cache", False)
    assert "off" in doctor.CHECKS["cache"]()[1]
