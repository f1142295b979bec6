"""Read and write ``k<digits>_e<digits>_d<digits>_r<pixels>``, many at a time as a matrix of characters.

Also read: once-for-all's dicts ``{"ks": [...], "e": [...], "d": [...], "r": 224}``, and PNAG's
``depths:kernels:expansions``, values separated by commas, which stand for networks at 224 px.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.ofa_mbv3.layout import Layout

_Mask = NDArray[np.bool_]

#: What the character tables say of a character that stands for no choice, and of the 0 of an inactive slot.
_OUTSIDE, _UNSET = -1, -2

#: Of the networks that PNAG publishes (arXiv 2103.00250).
PNAG_RESOLUTION = 224
#: Keys of once-for-all's dicts.
_MEANING = {"ks": "kernels", "e": "expansions", "d": "depths", "r": "resolution"}
#: No dict of a network is longer.
_LONGEST = 2000


class Spelling:
    """The characters of one family's architecture ids."""

    def __init__(self, space: str, layout: Layout) -> None:
        slots, stages = layout.slots, len(layout.stages)
        template = f"k{'0' * slots}_e{'0' * slots}_d{'0' * stages}_r"
        self._space, self._has_tail = space, layout.tail is not None
        self._slots, self._stages = slots, stages
        self._template = np.frombuffer(template.encode(), dtype=np.uint8)
        self._genes = np.flatnonzero(self._template == ord("0"))
        self._fixed = np.flatnonzero(self._template != ord("0"))
        self._digits = (
            ("kernel", layout.kernels, slice(0, slots)),
            ("expansion", layout.expansions, slice(slots, 2 * slots)),
            ("depth", layout.depths, slice(2 * slots, None)),
        )
        self._tails = np.asarray([str(pixels).encode() for pixels in layout.resolutions])
        self._shown = ", ".join(map(str, layout.resolutions))
        largest = (str(layout.kernels[-1]) * slots, str(layout.expansions[-1]) * slots, str(layout.depths[-1]) * stages)
        self._example = "k{}_e{}_d{}_r{}".format(*largest, layout.resolutions[-1])

    def write(self, genotypes: Genotypes, active_slots: _Mask) -> list[str]:
        """The ids of int8[n, v]."""
        width = len(self._template)
        tail_width = self._tails.dtype.itemsize
        digits = np.empty((len(genotypes), len(self._genes)), dtype=np.uint8)
        for _, values, columns in self._digits:
            digits[:, columns] = (np.asarray(values, dtype=np.uint8) + ord("0"))[genotypes[:, :-1][:, columns]]
        digits[:, : 2 * self._slots][~np.concatenate([active_slots, active_slots], axis=1)] = ord("0")
        text = np.empty((len(genotypes), width + tail_width), dtype=np.uint8)
        text[:, :width] = self._template
        text[:, self._genes] = digits
        text[:, width:] = self._tails.view(np.uint8).reshape(-1, tail_width)[genotypes[:, -1]]
        spelled: list[str] = text.view(f"S{text.shape[1]}").ravel().astype(str).tolist()
        return spelled

    def read(self, arch_ids: Sequence[str], active_slots: Callable[[Genotypes], _Mask]) -> Genotypes:
        """int8[n, v]; a 0 is read as the first choice. ``active_slots`` tells bool[n, slots] of the depths read.

        Raises InputError naming the first id that is outside the space and the first thing that is wrong with it.
        """
        arch_ids = [arch if arch[:1] == "k" else self._respelled(arch) for arch in arch_ids]
        text, wrong_length = self._characters(arch_ids)
        problems: list[tuple[_Mask, str]] = [(wrong_length, "it has too many characters, or one that is not printable")]
        head = text[:, : len(self._template)]
        misplaced = (head[:, self._fixed] != self._template[self._fixed]).any(axis=1)
        problems.append((misplaced, "it does not have the form k.._e.._d.._r.. with this space's numbers of digits"))
        codes = np.empty((len(text), len(self._genes) + 1), dtype=np.int8)
        for name, values, columns in self._digits:
            table = np.full(256, _OUTSIDE, dtype=np.int8)
            table[np.asarray(values, dtype=np.uint8) + ord("0")] = np.arange(len(values))
            if name != "depth":
                table[ord("0")] = _UNSET
            read = codes[:, :-1][:, columns] = table[head[:, self._genes[columns]]]
            problems.append(((read == _OUTSIDE).any(axis=1), f"each {name} is one of {', '.join(map(str, values))}"))
        codes[:, -1] = self._resolutions(text[:, len(self._template) :])
        problems.append((codes[:, -1] == _OUTSIDE, f"the resolution is one of {self._shown}"))
        unset = codes[:, : 2 * self._slots] == _UNSET
        genotypes = np.maximum(codes, np.int8(0))
        slots = active_slots(genotypes)
        missing = (unset & np.concatenate([slots, slots], axis=1)).any(axis=1)
        problems.append((missing, "a slot within its stage's depth is written 0"))
        self._refuse_first(arch_ids, problems)
        return genotypes

    def _respelled(self, arch: str) -> str:
        """A foreign spelling in this one; anything else as it is, for the error to name."""
        text, values = arch.strip(), None
        if text.startswith("{"):
            values = self._of_dict(text[:_LONGEST], arch)
        elif text.count(":") == 2:
            depths, kernels, expansions = (part.split(",") for part in text.split(":"))
            values = {"ks": kernels, "e": expansions, "d": depths, "r": [PNAG_RESOLUTION]}
        if values is None:
            return arch
        parts = []
        for key, count in (("ks", self._slots), ("e", self._slots), ("d", self._stages)):
            digits = [str(value).strip() for value in values[key]]
            if key == "d" and self._has_tail and len(digits) == count + 1:
                # Once-for-all writes a depth for the tail, too, and leaves it at its one block whatever is written.
                del digits[-1]
            long = [digit for digit in digits if len(digit) != 1]
            if len(digits) != count or long:
                why = f"holds {long[0]}" if long else f"has {len(digits)} values for {count} slots or stages"
                raise self._error(arch, f"{_MEANING[key]} ({key}) {why}")
            parts.append("".join(digits))
        return "k{}_e{}_d{}_r{}".format(*parts, values["r"][0])

    def _of_dict(self, text: str, arch: str) -> Mapping[str, list[Any]]:
        """The lists of once-for-all's dict, in Python's or JSON's spelling; a single number is a list of one."""
        read: Any = None
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            read = ast.literal_eval(text.replace("null", "None"))
        if not isinstance(read, dict):
            raise self._error(arch, "it begins like a dict and is none")
        values = {key: list(value) if isinstance(value, (list, tuple)) else [value] for key, value in read.items()}
        missing = [key for key in _MEANING if not values.get(key) or values[key] == [None]]
        if missing == ["r"] and len(self._tails) == 1:
            return values | {"r": [self._shown]}
        if missing:
            raise self._error(arch, f"the dict lacks {', '.join(f'{key} ({_MEANING[key]})' for key in missing)}")
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
        return InputError(
            f"{arch_id!r} is not an architecture of {self._space}: {why}.",
            "This is a cell of NAS-Bench-201: give --space nasbench201."
            if arch_id.startswith("|")
            else f"Spell it like {self._example}.",
        )
