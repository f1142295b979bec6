"""Ask a user's file for inputs to calibrate on, and for what a file of one of its networks is worth."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from fleetfront.errors import InputError
from fleetfront.quantities import percent_of
from fleetfront.spaces.from_torch.family_file import FamilyFile, Genes, spell_genes
from fleetfront.user_code import neighbours, reason_of

if TYPE_CHECKING:
    from torch import Tensor

#: Inputs that int8 is calibrated and proven on, at least and at most: fewer leave too few to prove a file on.
LEAST_CALIBRATION, MOST_CALIBRATION = 16, 512


def calibrating(file: FamilyFile, genes: Genes) -> list[tuple[Tensor, ...]]:
    """The inputs that int8 is calibrated and proven on, each like those of ``file.sample``.

    Raises InputError if the file has no such function, or it fails, or gives too few, too many, inputs of other shapes
    or types, equal ones, or what is no number.
    """
    import torch

    if file.calibration is None:
        raise no_calibration(file)
    said = f"calibration({spell_genes(genes)})"
    found: list[tuple[Tensor, ...]] = []
    wanted = [(one.shape, one.dtype) for one in file.sample(genes)]
    with neighbours(file.path), torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        given = file.called("calibration", file.calibration, genes)
        if not isinstance(given, Iterable):
            raise InputError(
                f"{said} of {file.path.name} gave a {type(given).__name__}.",
                "Return or yield inputs one by one, each as inputs(**genes) gives them.",
            )
        try:
            for one in itertools.islice(given, MOST_CALIBRATION + 1):
                found.append(file.tensors(said, one))
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise InputError(f"{said} of {file.path.name} failed: {reason_of(error)}", "Repair it.") from error
    if not LEAST_CALIBRATION <= len(found) <= MOST_CALIBRATION:
        more = "" if len(found) <= MOST_CALIBRATION else "more than "
        raise InputError(
            f"{said} of {file.path.name} gave {more}{min(len(found), MOST_CALIBRATION)} inputs.",
            f"Give {LEAST_CALIBRATION} to {MOST_CALIBRATION}, e.g. itertools.islice(data, 128).",
        )
    for number, one in enumerate(found):
        _check_like(f"{said} of {file.path.name}, input {number}", one, wanted)
    if all(torch.equal(a, b) for one in found[1:] for a, b in zip(found[0], one, strict=True)):
        raise InputError(f"{said} of {file.path.name} gave one input again and again.", "Give different ones.")
    return found


def _check_like(said: str, one: tuple[Tensor, ...], wanted: list[tuple[Any, Any]]) -> None:
    shapes = [(tensor.shape, tensor.dtype) for tensor in one]
    if shapes != wanted:
        has, should = (
            ", ".join(f"{str(dtype).removeprefix('torch.')}{list(shape)}" for shape, dtype in both)
            for both in (shapes, wanted)
        )
        raise InputError(f"{said} is {has}, and inputs(**genes) gives {should}.", "Give inputs of that kind.")
    if any(tensor.is_floating_point() and not bool(tensor.isfinite().all()) for tensor in one):
        raise InputError(f"{said} holds what is no finite number.", "Leave such inputs out.")


def no_calibration(file: FamilyFile) -> InputError:
    """The error of int8 files that are asked of a file without ``calibration``."""
    where = f"a copy of {file.path}" if file.shipped_as else file.path.name
    return InputError(
        f"{file.path.name} does not say which values its networks are fed, and int8 is calibrated on such inputs.",
        f"Add calibration(**genes) to {where}: {LEAST_CALIBRATION} to {MOST_CALIBRATION} inputs like those of "
        "inputs(**genes). The changed file is another family: profile and search it.",
    )


def judged(file: FamilyFile, genes: Genes, run: Callable[..., Any]) -> float:
    """The accuracy in percent that the file's ``judge`` tells of ``run``, which answers as the network of ``genes``.

    Raises InputError if it fails, or gives no accuracy in the file's unit.
    """
    import torch

    with neighbours(file.path), torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(0)
        value = file.called("judge", file.judge, genes, run)
    number = percent_of(value, file.unit)
    if not file.unit and 0 < number <= 1:
        raise InputError(
            f"judge({spell_genes(genes)}) of {file.path.name} gave {number:g}: a fraction of 1, or a percentage?",
            "Declare accuracy_unit = 'fraction', or 'percent'.",
        )
    if not 0 <= number <= 100:
        raise InputError(
            f"judge({spell_genes(genes)}) of {file.path.name} gave {str(value)[:80]}, which is no accuracy"
            f"{f' as {file.unit}' if file.unit else ' in percent'}.",
            "Return a number from 0 to 100.",
        )
    return number
