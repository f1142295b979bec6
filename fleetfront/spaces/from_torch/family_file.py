"""Read a user's Python file that describes a family of torch networks, and call its functions."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fleetfront.errors import InputError, missing
from fleetfront.user_code import import_file, neighbours, reason_of, watched_imports

if TYPE_CHECKING:
    from torch import Tensor, nn

Value = int | float | str | bool
Genes = Mapping[str, Value]

#: A gene has at most as many values: genotypes are int8.
_MOST_VALUES = 127
_WORD = re.compile(r"[A-Za-z0-9_.+-]+")
_SHOWN = 60
#: Files of a network at most, and calls of each in an inference: every call is a column of a table.
_MOST_PARTS, _MOST_CALLS = 8, 10_000
#: What a network of one file is called.
WHOLE = "network"
_WRITE = "See docs/own-family.md: choices = {...}, make(**genes) and inputs(**genes)."
_WRITE_PARTS = "Return {'encoder': (module, inputs, 1), 'decoder': (module, inputs, 24)}: calls an inference last."


class Part(NamedTuple):
    """A part of a network that has a file of its own: the module, what it is fed, and its calls an inference."""

    module: nn.Module
    sample: tuple[Tensor, ...]
    calls: int


@dataclass(frozen=True, slots=True)
class FamilyFile:
    """A family as its file has it.

    Attributes:
        path: of the file, absolute.
        digest: SHA-256 over the file and the files beside it that it imports.
        choices: gene -> its values, numbers ascending.
        make: genes -> torch module.
        inputs: genes -> what the module is fed: a tensor, or a tuple of tensors.
        parts: genes -> name -> (module, what it is fed, calls an inference), of networks of several files, which have
            neither ``make`` nor ``inputs``; None for others.
        active: genes -> names of those that matter; None if the file does not say.
        calibration: genes -> an iterable of such inputs with values as they occur; None if the file has none.
        judge: a function that answers as the network does, and genes -> what ``accuracy`` would tell of that function;
            None if the file has none.
        judges: whether the file has a function ``accuracy``.
        unit: of what that function returns, as ``--accuracy call:`` spells units; empty if undeclared.
        quality: its name, where it is not accuracy.
        is_higher_better: of that quality.
        combines: what several answers count as, ``mean`` or ``worst``; empty if undeclared.
        objectives: answers that count each, ``digit:higher/drift:lower cm``; empty if undeclared.
        shipped_as: the name of a family that fleetfront brings.
    """

    path: Path
    digest: str
    choices: Mapping[str, tuple[Value, ...]]
    make: Callable[..., Any] | None
    inputs: Callable[..., Any] | None
    parts: Callable[..., Any] | None
    active: Callable[..., Any] | None
    calibration: Callable[..., Any] | None
    judge: Callable[..., Any] | None
    judges: bool
    unit: str
    quality: str = ""
    is_higher_better: bool = True
    combines: str = ""
    objectives: str = ""
    shipped_as: str = ""

    @property
    def name(self) -> str:
        """The file's stem and the first eight digits of its digest: another file is another family."""
        if self.shipped_as:
            return self.shipped_as
        return f"{re.sub('[^A-Za-z0-9]+', '-', self.path.stem).strip('-') or 'family'}-{self.digest[:8]}"

    def of(self, genes: Genes) -> dict[str, Part]:
        """The network of some genes by the parts that have files of their own: one, ``network``, called once, where the
        file says nothing else. Modules are in evaluation mode; random weights are the same each time.

        Raises InputError if a function of the file fails or gives something else.
        """
        import torch

        if self.parts is None:
            said = spell_genes(genes)
            with neighbours(self.path), torch.random.fork_rng(devices=()):
                torch.manual_seed(0)
                made = self.called("make", self.make, genes)
            return {WHOLE: Part(self._module(f"make({said})", made), self.sample(genes), 1)}
        with neighbours(self.path), torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            given = self.called("parts", self.parts, genes)
        said = f"parts({spell_genes(genes)})"
        if not isinstance(given, Mapping) or not 0 < len(given) <= _MOST_PARTS:
            raise InputError(
                f"{said} of {self.path.name} gave {str(given)[:_SHOWN]}, not 1 to {_MOST_PARTS} parts.", _WRITE_PARTS
            )
        alike = [name for name in given if [str(other).lower() for other in given].count(str(name).lower()) > 1]
        if alike:
            raise InputError(
                f"{said} of {self.path.name} names parts {' and '.join(map(str, alike))}, whose files would have one "
                "name where letters' case does not count.",
                "Give them names that differ in more than that.",
            )
        return {name: self._part(said, name, one) for name, one in given.items()}

    def _part(self, said: str, name: Any, given: Any) -> Part:
        if not isinstance(name, str) or not re.fullmatch(r"\w+", name, re.ASCII):
            raise InputError(f"{said} of {self.path.name} names a part {name!r}.", "Use letters, digits and _.")
        said = f"{said}[{name!r}]"
        if not isinstance(given, tuple) or len(given) != 3:
            raise InputError(f"{said} of {self.path.name} is {str(given)[:_SHOWN]}.", _WRITE_PARTS)
        module, inputs, calls = given
        if type(calls) is not int or not 1 <= calls <= _MOST_CALLS:
            raise InputError(
                f"{said} of {self.path.name} is called {str(calls)[:_SHOWN]} times an inference.",
                f"Give a whole number from 1 to {_MOST_CALLS:,}.",
            )
        return Part(self._module(said, module), self._batched(said, inputs), calls)

    def sample(self, genes: Genes) -> tuple[Tensor, ...]:
        """The tensors that a network of one part is fed. Raises InputError if ``inputs`` fails or gives no tensors."""
        import torch

        with neighbours(self.path), torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            given = self.called("inputs", self.inputs, genes)
        return self._batched(f"inputs({spell_genes(genes)})", given)

    def _module(self, said: str, made: Any) -> nn.Module:
        from torch import nn

        if not isinstance(made, nn.Module):
            raise InputError(
                f"{said} of {self.path.name} gave a {type(made).__name__}.",
                "Return a torch.nn.Module with its weights loaded.",
            )
        return made.eval()

    def _batched(self, said: str, given: Any) -> tuple[Tensor, ...]:
        tensors = self.tensors(said, given)
        strange = [tuple(one.shape) for one in tensors if not one.dim() or one.shape[0] != 1]
        if strange:
            raise InputError(
                f"{said} of {self.path.name} gave a tensor of shape {list(strange[0])}.",
                "Return what one inference is fed: the first dimension is the batch, and it is 1.",
            )
        if any(one.is_floating_point() and not bool(one.isfinite().all()) for one in tensors):
            raise InputError(
                f"{said} of {self.path.name} gave a tensor with NaN or infinity, on which no file could be proven.",
                "Return finite numbers, where a mask has minus infinity e.g. -1e4.",
            )
        return tensors

    def tensors(self, said: str, given: Any) -> tuple[Tensor, ...]:
        """The tensors that a function gave. Raises InputError if it holds something else."""
        import torch

        tensors = (given,) if isinstance(given, torch.Tensor) else given
        if not isinstance(tensors, tuple | list):
            tensors = (given,)
        strange = [f"a {type(one).__name__}" for one in tensors if not isinstance(one, torch.Tensor)]
        if not tensors:
            strange = [f"an empty {type(given).__name__}"]
        if strange:
            raise InputError(
                f"{said} of {self.path.name} gave {strange[0]} where a tensor is needed.",
                "Return a tensor, or a tuple of tensors in the order of forward's parameters.",
            )
        return tuple(one.detach().cpu() for one in tensors)

    def active_names(self, genes: Genes) -> frozenset[str]:
        """The genes that matter beside the given ones. Raises InputError if ``active`` fails or names no genes."""
        if self.active is None:
            return frozenset(self.choices)
        with neighbours(self.path):
            given = self.called("active", self.active, genes)
        names = [one for one, there in given.items() if there] if isinstance(given, Mapping) else given
        try:
            found = frozenset(map(str, names))
        except TypeError:
            found = frozenset({str(names)})
        if found - set(self.choices):
            raise InputError(
                f"active({spell_genes(genes)}) of {self.path.name} named {min(found - set(self.choices))!r}.",
                f"Return names of genes: {', '.join(self.choices)}.",
            )
        return found

    def called(self, name: str, function: Callable[..., Any] | None, genes: Genes, *arguments: Any) -> Any:
        """Call a function of the file. Raises InputError if it fails, or is not there."""
        if function is None:
            raise InputError(f"{self.path.name} has no function {name}(**genes).", _WRITE)
        try:
            return function(*arguments, **genes)
        except (Exception, SystemExit) as error:
            remedy = "Repair it."
            if name in ("make", "inputs", "parts"):
                remedy += (
                    " Where these values do not go together, take the nearest that do: networks that turn out equal "
                    "count as one."
                )
            raise InputError(
                f"{name}({spell_genes(genes)}) of {self.path.name} failed: {reason_of(error)}", remedy
            ) from error


def unsteady(file: FamilyFile, genes: Genes, now: object, before: object) -> InputError:
    """The error of ``parts`` that give other calls or inputs each time they are asked."""
    return InputError(
        f"parts({spell_genes(genes)}) of {file.path.name} gave {now} this time and {before} before.",
        "Let calls and the shapes of inputs depend on genes alone: no random numbers, no state.",
    )


def spell_genes(genes: Genes) -> str:
    """``width=16,depth=3``, as architectures of such families are spelled."""
    return ",".join(f"{name}={value}" for name, value in genes.items())


def read_family(path: Path) -> FamilyFile:
    """The family that a file describes; its code is run.

    Raises:
        InputError: there is no such file, it fails, or it does not say what a family needs.
        MissingDependency: torch is not installed.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise missing("torch", "torch", "A family of torch networks") from error
    if not path.is_file():
        raise InputError(f"There is no file {path}.", f"Give the path of a Python file. {_WRITE}")
    path = path.resolve()
    with watched_imports(path) as beside:
        found = _read(path)
        # Files beside it may be imported by its functions alone, so these are called before what was imported counts.
        genes = {name: values[0] for name, values in found.choices.items()}
        made = found.of(genes)
        if found.parts is not None:
            before, now = ({name: _fed(part) for name, part in one.items()} for one in (made, found.of(genes)))
            if now != before:
                raise unsteady(found, genes, now, before)
    return replace(found, digest=_digest(path, beside))


def _read(path: Path) -> FamilyFile:
    """The family of a file, without its digest."""
    with neighbours(path):
        written = vars(import_file(path))
    choices = _choices(path, written.get("choices"))
    make, inputs, parts = _networks(path, written)
    active, calibration, judge, accuracy = (
        _function(path, written, name) for name in ("active", "calibration", "judge", "accuracy")
    )
    for name, one, first in (
        ("make", make, ()),
        ("inputs", inputs, ()),
        ("parts", parts, ()),
        ("active", active, ()),
        ("calibration", calibration, ()),
        ("accuracy", accuracy, ()),
        ("judge", judge, ("run",)),
    ):
        _check_genes(path, name, one, first, choices)
    for name, one in (("calibration", calibration), ("judge", judge)):
        if parts is not None and one is not None:
            raise InputError(
                f"{path.name} has parts(**genes) and {name}, and parts are handed out in fp32 alone.",
                f"Leave {name} out.",
            )
    unit, quality, how = (str(written.get(f"accuracy_{what}", "")) for what in ("unit", "name", "combines"))
    better = bool(written.get("higher_is_better", True))
    if not better and not quality:
        raise InputError(
            f"{path.name} has higher_is_better = False and does not say of what.",
            "Name it: accuracy_name = 'perplexity'. For an error in percent write accuracy_unit = 'error' alone.",
        )
    if judge is not None and (quality or unit == "pass"):
        raise InputError(
            f"{path.name} has judge(run, **genes) beside {'accuracy_name' if quality else 'accuracy_unit = pass'}, and "
            "files are judged by accuracy in percent alone.",
            "Leave judge out.",
        )
    asked = (accuracy is not None, unit, quality, better, how, _objectives(path, written.get("accuracy_objectives")))
    return FamilyFile(path, "", choices, make, inputs, parts, active, calibration, judge, *asked)


def _objectives(path: Path, given: Any) -> str:
    """``digit:higher/drift:lower cm`` of a dict, whose words are checked where it is asked."""
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not all(isinstance(part, str) for one in given.items() for part in one):
        write = "Write accuracy_objectives = {'digit': 'higher', 'drift': 'lower cm'}."
        raise InputError(f"accuracy_objectives of {path.name} is {str(given)[:_SHOWN]}.", write)
    return "/".join(f"{name}:{told}" for name, told in given.items())


def _fed(part: Part) -> str:
    return f"{part.calls} x {[list(one.shape) for one in part.sample]}"


def _function(path: Path, written: Mapping[str, Any], name: str) -> Callable[..., Any] | None:
    found: Callable[..., Any] | None = written.get(name)
    if found is not None and not callable(found):
        raise InputError(f"{name} of {path.name} is no function.", f"Write def {name}(**genes).")
    return found


def _check_genes(
    path: Path, name: str, function: Callable[..., Any] | None, first: tuple[str, ...], choices: Mapping[str, Any]
) -> None:
    """Raise InputError for a function that does not take the genes: some are only called after minutes of measuring."""
    if function is None:
        return
    try:
        inspect.signature(function).bind(*first, **dict.fromkeys(choices))
    except TypeError as error:
        raise InputError(
            f"{name} of {path.name} cannot be given the genes {', '.join(choices)}: {error}.",
            f"Write def {name}({', '.join((*first, *choices))}), or def {name}({', '.join((*first, '**genes'))}).",
        ) from error
    except ValueError:
        # Of what is written in C nobody knows the parameters.
        return


def _networks(path: Path, written: Mapping[str, Any]) -> tuple[Callable[..., Any] | None, ...]:
    """``make``, ``inputs`` and ``parts`` of a file. InputError unless it has the first two, or the last alone."""
    make, inputs, parts = (_function(path, written, name) for name in ("make", "inputs", "parts"))
    if parts is not None and (make or inputs):
        raise InputError(
            f"{path.name} has parts(**genes) beside {'make' if make else 'inputs'}(**genes), which says otherwise.",
            "Keep parts where networks have several files, make and inputs where they have one.",
        )
    if parts is None and not (make and inputs):
        raise InputError(f"{path.name} has no function {'inputs' if make else 'make'}(**genes).", _WRITE)
    return make, inputs, parts


def _digest(path: Path, beside: Iterable[Path]) -> str:
    digest = hashlib.sha256(path.read_bytes())
    for file in sorted(beside):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _choices(path: Path, given: Any) -> dict[str, tuple[Value, ...]]:
    if not isinstance(given, Mapping) or not given:
        raise InputError(f"{path.name} has no choices = {{gene: values, ...}}.", _WRITE)
    choices = {}
    for name, values in given.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(f"{name!r} cannot be a gene of {path.name}.", "Name genes as Python names parameters.")
        listed = tuple(values) if isinstance(values, list | tuple | range) else ()
        if not 0 < len(listed) <= _MOST_VALUES:
            raise InputError(
                f"Gene {name} of {path.name} is {str(values)[:_SHOWN]}, not a list of 1 to {_MOST_VALUES} values.",
                "Write e.g. 'width': [16, 24, 32].",
            )
        strange = [value for value in listed if not isinstance(value, Value) or not _WORD.fullmatch(str(value))]
        if strange or len({str(value) for value in listed}) < len(listed):
            said = f"has the value {strange[0]!r}" if strange else "has a value twice"
            raise InputError(
                f"Gene {name} of {path.name} {said}.",
                "Values are distinct numbers, or words of letters, digits and . _ + -: make may look others up.",
            )
        are_numbers = all(isinstance(value, int | float) for value in listed)
        choices[name] = tuple(sorted(listed, key=float)) if are_numbers else listed
    return choices
