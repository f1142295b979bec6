"""Block describes the unit that is measured. Its key is its readable, stable, unique name in the store."""

from __future__ import annotations

from dataclasses import dataclass

Parameter = int | str


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """A building block of a family of networks, with everything that decides its cost.

    Attributes:
        family: name of the kind of block, e.g. ``mbconv``.
        parameters: name and value, sorted by name. Everything that decides the block's operators but not its inputs.
        inputs: shape of each input without the batch, channels first, e.g. ``((16, 112, 112),)``.
    """

    family: str
    parameters: tuple[tuple[str, Parameter], ...]
    inputs: tuple[tuple[int, ...], ...]

    @classmethod
    def make(cls, family: str, inputs: tuple[tuple[int, ...], ...], **parameters: Parameter) -> Block:
        """A block with its parameters sorted."""
        return cls(family, tuple(sorted(parameters.items())), inputs)

    @property
    def key(self) -> str:
        """E.g. ``mbconv(act=relu,e=3,in=16,k=3,out=24,s=2,se=0)@16x112x112``."""
        inside = ",".join(f"{name}={value}" for name, value in self.parameters)
        shapes = "+".join("x".join(str(d) for d in shape) for shape in self.inputs)
        return f"{self.family}({inside})@{shapes}"

    def parameter(self, name: str) -> Parameter:
        """The value of one parameter. Raises KeyError if the family has none of that name."""
        return dict(self.parameters)[name]
