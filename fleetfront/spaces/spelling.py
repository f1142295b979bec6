"""Read and write ids like ``k<digits>_e<digits>_d<digits>_r<pixels>``, many at a time as a matrix of characters.

Also read: once-for-all's dicts like ``{"ks": [...], "e": [...], "d": [...], "r": 224}``, and, of networks with kernels,
PNAG's ``depths:kernels:expansions``, values separated by commas, which stand for networks at 224 px.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.precisions import CHOICES, SEPARATOR

_Mask = NDArray[np.bool_]

#: What the character tables say of a character that stands for no choice, and of the 0 of an inactive slot.
_OUTSIDE, _UNSET = -1, -2

#: Of the networks that PNAG publishes (arXiv 2103.00250).
PNAG_RESOLUTION = 224
#: No dict of a network is longer.
_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Digits:
    """Genes that are written one digit each behind a letter.

    Attributes:
        letter: e.g. ``k``.
        key: what once-for-all's dicts call them.
        name: of one gene.
        genes: for each gene, the digit of each of its choices.
        unset: 0 is written for a gene of an inactive slot.
        theirs: once-for-all's value -> the digit, where it is not the value itself.
        spare: once-for-all may write one value more, which changes nothing.
    """

    letter: str
    key: str
    name: str
    genes: tuple[str, ...]
    unset: bool = False
    theirs: Mapping[str, str] = field(default_factory=dict)
    spare: bool = False


class Spelling:
    """The characters of one family's architecture ids: digits of genes in their order, then the resolution."""

    def __init__(self, space: str, groups: Sequence[Digits], resolutions: Sequence[int]) -> None:
        template = "_".join(group.letter + "0" * len(group.genes) for group in groups) + "_r"
        self._space, self._groups = space, tuple(groups)
        self._form = "_".join(f"{group.letter}.." for group in groups) + "_r.."
        self._template = np.frombuffer(template.encode(), dtype=np.uint8)
        self._genes = np.flatnonzero(self._template == ord("0"))
        self._fixed = np.flatnonzero(self._template != ord("0"))
        most = max(len(digits) for group in groups for digits in group.genes)
        padded = [digits.ljust(most, digits[-1]).encode() for group in groups for digits in group.genes]
        self._written = np.frombuffer(b"".join(padded), dtype=np.uint8).reshape(-1, most)
        self._tails = np.asarray([str(pixels).encode() for pixels in resolutions])
        self._shown = ", ".join(map(str, resolutions))
        largest = [group.letter + "".join(digits[-1] for digits in group.genes) for group in groups]
        self._example = "_".join([*largest, f"r{resolutions[-1]}"])
        may_be_unset = np.array([group.unset for group in groups for _ in group.genes], np.bool_)
        self._columns, self._unset = np.arange(len(padded)), np.flatnonzero(may_be_unset)
        self._read = np.full((len(padded), 256), _OUTSIDE, dtype=np.int8)
        self._read[may_be_unset, ord("0")] = _UNSET
        for table, digits in zip(self._read, (d for group in groups for d in group.genes), strict=True):
            table[np.frombuffer(digits.encode(), dtype=np.uint8)] = np.arange(len(digits))

    def write(self, genotypes: Genotypes, active: _Mask) -> list[str]:
        """The ids of int8[n, v]; ``active`` is bool[n, v]."""
        width = len(self._template)
        tail_width = self._tails.dtype.itemsize
        digits = self._written[self._columns, genotypes[:, :-1]]
        digits[:, self._unset] = np.where(active[:, self._unset], digits[:, self._unset], np.uint8(ord("0")))
        text = np.empty((len(genotypes), width + tail_width), dtype=np.uint8)
        text[:, :width] = self._template
        text[:, self._genes] = digits
        text[:, width:] = self._tails.view(np.uint8).reshape(-1, tail_width)[genotypes[:, -1]]
        spelled: list[str] = text.view(f"S{text.shape[1]}").ravel().astype(str).tolist()
        return spelled

    def read(self, arch_ids: Sequence[str], active: Callable[[Genotypes], _Mask]) -> Genotypes:
        """int8[n, v]; a 0 of an inactive slot is read as the first choice. ``active`` tells bool[n, v] of those read.

        Raises InputError naming the first id that is outside the space and the first thing that is wrong with it.
        """
        first = self._groups[0].letter
        arch_ids = [arch if arch[:1] == first else self._respelled(arch) for arch in arch_ids]
        text, wrong_length = self._characters(arch_ids)
        problems: list[tuple[_Mask, str]] = [(wrong_length, "it has too many characters, or one that is not printable")]
        head = text[:, : len(self._template)]
        misplaced = (head[:, self._fixed] != self._template[self._fixed]).any(axis=1)
        problems.append((misplaced, f"it does not have the form {self._form} with this space's numbers of digits"))
        codes = np.empty((len(text), len(self._genes) + 1), dtype=np.int8)
        codes[:, :-1] = self._read[self._columns, head[:, self._genes]]
        start = 0
        for group in self._groups:
            read = codes[:, start : start + len(group.genes)]
            start += len(group.genes)
            listed = ", ".join(sorted(set("".join(group.genes))))
            problems.append(((read == _OUTSIDE).any(axis=1), f"each {group.name} is one of {listed}"))
        codes[:, -1] = self._resolutions(text[:, len(self._template) :])
        problems.append((codes[:, -1] == _OUTSIDE, f"the resolution is one of {self._shown}"))
        unset = codes == _UNSET
        genotypes = np.maximum(codes, np.int8(0))
        missing = (unset & active(genotypes)).any(axis=1)
        problems.append((missing, "a slot within its stage's depth is written 0"))
        self._refuse_first(arch_ids, problems)
        return genotypes

    def _respelled(self, arch: str) -> str:
        """A foreign spelling in this one; anything else as it is, for the error to name."""
        text, values = arch.strip(), None
        if text.startswith("{"):
            values = self._of_dict(text[:_LONGEST], arch)
        elif text.count(":") == 2 and {"ks", "e", "d"} == {group.key for group in self._groups}:
            depths, kernels, expansions = (part.split(",") for part in text.split(":"))
            values = {"ks": kernels, "e": expansions, "d": depths, "r": [PNAG_RESOLUTION]}
        if values is None:
            return arch
        parts = []
        for group in self._groups:
            given = [str(value).strip() for value in values[group.key]]
            if group.spare and len(given) == len(group.genes) + 1:
                del given[-1]
            digits = [group.theirs.get(value, "" if group.theirs else value) for value in given]
            wrong = [value for value, digit in zip(given, digits, strict=True) if len(digit) != 1]
            if len(digits) != len(group.genes) or wrong:
                count = len(group.genes)
                why = f"holds {wrong[0]}" if wrong else f"has {len(digits)} values for {count} slots or stages"
                raise self._error(arch, f"{group.name}s ({group.key}) {why}")
            parts.append(group.letter + "".join(digits))
        return "_".join([*parts, f"r{values['r'][0]}"])

    def _of_dict(self, text: str, arch: str) -> Mapping[str, list[Any]]:
        """The lists of once-for-all's dict, in Python's or JSON's spelling; a single number is a list of one."""
        read: Any = None
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            read = ast.literal_eval(text.replace("null", "None"))
        if not isinstance(read, dict):
            raise self._error(arch, "it begins like a dict and is none")
        values = {key: list(value) if isinstance(value, (list, tuple)) else [value] for key, value in read.items()}
        meaning = {group.key: f"{group.name}s" for group in self._groups} | {"r": "resolution"}
        missing = [key for key in meaning if not values.get(key) or values[key] == [None]]
        if missing == ["r"] and len(self._tails) == 1:
            return values | {"r": [self._shown]}
        if missing:
            raise self._error(arch, f"the dict lacks {', '.join(f'{key} ({meaning[key]})' for key in missing)}")
        return values

    def _characters(self, arch_ids: Sequence[str]) -> tuple[NDArray[np.uint8], _Mask]:
        """uint8[n, width] padded with zeros, and which ids it cannot hold."""
        width = len(self._template) + self._tails.dtype.itemsize
        lengths = np.fromiter(map(len, arch_ids), dtype=np.intp, count=len(arch_ids))
        try:
            text = np.asarray(arch_ids, dtype=f"S{width}")
        except UnicodeEncodeError as error:
            raise self._error(str(error.object), "it holds a character that is not ASCII") from error
        characters = text.view(np.uint8).reshape(len(arch_ids), width)
        wrong: _Mask = (characters != 0).sum(axis=1) != lengths
        return characters, wrong

    def _resolutions(self, tail: NDArray[np.uint8]) -> NDArray[np.int8]:
        """Index of each row's resolution, or outside."""
        spelled = np.ascontiguousarray(tail).view(self._tails.dtype).ravel()
        order = np.argsort(self._tails)
        place = np.minimum(np.searchsorted(self._tails, spelled, sorter=order), len(order) - 1)
        return np.where(self._tails[order[place]] == spelled, order[place], _OUTSIDE).astype(np.int8)

    def _refuse_first(self, arch_ids: Sequence[str], problems: Sequence[tuple[_Mask, str]]) -> None:
        refused = np.any([bad for bad, _ in problems], axis=0)
        if refused.any():
            first = int(np.argmax(refused))
            raise self._error(arch_ids[first], next(why for bad, why in problems if bad[first]))

    def _error(self, arch_id: str, why: str) -> InputError:
        remedy = f"Spell it like {self._example}."
        if arch_id.startswith("|"):
            remedy = "This is a cell of NAS-Bench-201: give --space nasbench201."
        network, behind, precision = arch_id.partition(SEPARATOR)
        if behind and precision in CHOICES:
            why = f"{behind}{precision} is the precision of a file"
            remedy = f"Give {network!r}, and where files are written --precisions {precision}."
        return InputError(f"{arch_id!r} is not an architecture of {self._space}: {why}.", remedy)
