"""Devices by name. Tenor runs on the CPU; the name is there so that code ports unchanged."""

from __future__ import annotations

from typing import Final

from tenor.errors import ArgumentError

__all__ = ["CPU", "Device"]


class Device:
    """Where a tensor lives.

    Args:
        name: "cpu", perhaps with a number, or another Device.

    Attributes:
        type: "cpu".
        index: The number, or None.

    Raises:
        ArgumentError: there is no such device.
    """

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __init__(self, name: str | Device, index: int | None = None) -> None:
        if isinstance(name, Device):
            self.type, self.index = name.type, name.index
            return
        self.type, _, number = str(name).partition(":")
        if self.type != "cpu" or (number and not number.isdigit()):
            raise ArgumentError(
                "device: Tenor runs on 'cpu'.",
                came=repr(name),
                fix="use device='cpu', or leave it out",
            )
        self.index = int(number) if number else index

    def __repr__(self) -> str:
        return (
            f"device(type={self.type!r})"
            if self.index is None
            else (f"device(type={self.type!r}, index={self.index})")
        )

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))


CPU: Final = Device("cpu")
