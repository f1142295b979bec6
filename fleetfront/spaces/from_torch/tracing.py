"""Trace networks of a family: run each once on tensors without data, and note which parts it is made of.

A part is a chain of modules that recur: what a list of layers holds, or a module of its own, with the normalisation and
activation that follow it at once. Importing this module imports torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph
from fleetfront.graphs.operators.catalogue import family_of
from fleetfront.graphs.readers.torch import read_module
from fleetfront.graphs.readers.torch_words import ALIASES
from fleetfront.spaces.from_torch.exporting import plain_paths, quiet_torch
from fleetfront.spaces.from_torch.family_file import WHOLE, FamilyFile, Genes, Part
from fleetfront.spaces.from_torch.traces import BETWEEN, LOOSE, Decisions, Described, does_not_run, spell_calls

#: A module of several parts that does more of a network's work than this is taken apart.
_MOST_WORK = 0.5
#: Operators that multiply up.
_MULTIPLYING = ("mm", "bmm", "addmm", "baddbmm", "convolution", "linear", "matmul", "scaled_dot_product", "lstm", "gru")


#: An operator and what it is fed -> whether it gives one tensor, and the shape, strides and type of each.
_Answers = dict[tuple[Any, ...], tuple[bool, tuple[tuple[Any, ...], ...]]]


class Running:
    """A part while it runs: its modules, what the first was fed, and the operators so far."""

    def __init__(self, modules: list[nn.Module], arguments: tuple[Tensor, ...]) -> None:
        self.modules, self.arguments = modules, arguments
        self.output: Any = None
        self.log: list[str] = []
        self.kinds: set[str] = set()
        #: What operators call tensors, by identity.
        self.names = {id(one): f"input {place}" for place, one in enumerate(arguments)}

    def goes_on(self, module: nn.Module, args: Sequence[Tensor]) -> bool:
        """Tell whether a module belongs to it that is fed ``args``: its output, by one without weights of two axes."""
        is_fed_it = len(args) == 1 and args[0] is self.output
        return is_fed_it and not list(module.children()) and all(p.dim() < 2 for p in module.parameters())

    def chain(self) -> nn.Module:
        """Its modules as one."""
        return self.modules[0] if len(self.modules) == 1 else Chain(self.modules)

    def sample(self) -> tuple[Tensor, ...]:
        """Tensors such as its first module was fed, all zeros; the ones themselves had no data."""
        return tuple(torch.zeros(one.shape, dtype=one.dtype) for one in self.arguments)

    def signature(self) -> str:
        """Equal for parts that do the same with inputs of the same shapes."""
        fed = [f"{list(one.shape)}:{one.dtype}" for one in self.arguments]
        return _digest([*fed, *self.log])


class Chain(nn.Module):
    """Modules one after the other; the first may take several tensors."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.chained = nn.ModuleList(modules)
        # An exporter puts its modules back into the mode that the chain was in.
        self.eval()

    def forward(self, *tensors: Tensor) -> Any:
        first, *others = self.chained
        result = first(*tensors)
        for one in others:
            result = one(result)
        return result


class Tracer:
    """Traces networks of one family; ``described`` holds every part that was met, by signature."""

    def __init__(self, family: FamilyFile, decisions: Decisions | None = None) -> None:
        """``decisions`` are those of an earlier tracer of the family."""
        self._family = family
        self.described: dict[str, Described] = {}
        self._apart = set(decisions.apart if decisions else ())
        self._whole = set(decisions.whole if decisions else ())
        self._stand_ins = decisions is not None and decisions.stand_ins
        self._answers: _Answers = {}

    @property
    def decisions(self) -> Decisions:
        """Which classes of modules are taken apart, and what networks are run on."""
        return Decisions(tuple(sorted(self._apart)), tuple(sorted(self._whole)), self._stand_ins)

    def settle(self, genes: Genes) -> None:
        """Decide by one large network which modules are taken apart."""
        for name in self._family.of(genes):
            found: set[str] | None = None
            while found is None or found:
                part = self._family.of(genes)[name]
                held = self._trace(genes, name, part)
                work = {place: self.described[one].macs for place, one in held.items() if one in self.described}
                most = _MOST_WORK * sum(work.values())
                paths = [at.removeprefix(_prefix(name)).partition("#")[0] for at, macs in work.items() if macs > most]
                large = [part.module.get_submodule(path) for path in paths]
                found = {_name(one) for one in large if _name(one) not in self._whole and len(self._split(one)) > 1}
                self._apart |= found

    def trace(self, genes: Genes) -> dict[str, str]:
        """Place -> what it holds, of the network of some genes: the signature of a part, what is computed after a part,
        or how many numbers are in a weight of no part. Behind it stands how often what has a file of its own is called.

        Raises InputError if the network cannot be made or run.
        """
        held: dict[str, str] = {}
        for name, part in self._family.of(genes).items():
            of_part = self._trace(genes, name, part)
            held |= {at: one if at.startswith(LOOSE) else spell_calls(one, part.calls) for at, one in of_part.items()}
        return held

    def capture(self, genes: Genes) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        """Each part of a network by its place, with its weights, and tensors such as it is fed, all zeros."""
        captured: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {}
        for name, part in self._family.of(genes).items():
            watch = self._run(genes, name, part)
            captured |= {f"{_prefix(name)}{at}": (one.chain(), one.sample()) for at, one in watch.parts.items()}
        return captured

    def _trace(self, genes: Genes, name: str, part: Part) -> dict[str, str]:
        watch, prefix = self._run(genes, name, part), _prefix(name)
        held = {f"{prefix}{place}": running.signature() for place, running in watch.parts.items()}
        for (place, signature), running in zip(held.items(), watch.parts.values(), strict=True):
            if signature not in self.described:
                self.described[signature] = _describe(running, genes, place)
        held |= {f"{BETWEEN}{prefix}{place}": f"~{_digest(log)}" for place, log in watch.between.items()}
        # Weights that several parts share, or one that is called again, count once.
        inside: set[int] = set()
        for place, running in watch.parts.items():
            own = {id(p): p.numel() for one in running.modules for p in one.parameters()}
            if again := sum(count for weight, count in own.items() if weight in inside):
                held[f"{LOOSE}{prefix}{place} again"] = str(-again)
            inside |= own.keys()
        loose = {path: p.numel() for path, p in part.module.named_parameters() if id(p) not in inside}
        return held | {f"{LOOSE}{prefix}{path}": str(count) for path, count in loose.items()}

    def _run(self, genes: Genes, name: str, part: Part) -> _Watch:
        """Run the network on tensors without data.

        Of the ``meta`` device, what an operator makes of shapes is remembered; what its tensors cannot do, as beside
        tensors that a module holds and does not register, stand-ins of real tensors may.
        """
        module, sample, _ = part
        if not self._stand_ins:
            weights = {path: torch.empty_like(one, device="meta") for path, one in _tensors(module)}
            fed = tuple(one.to("meta") for one in sample)
            with contextlib.suppress(InputError), quiet_torch(), torch.device("meta"), torch.inference_mode():
                return self._watch(genes, name, module, lambda: functional_call(module, weights, fed))
            self._stand_ins = True
        mode = FakeTensorMode(allow_non_fake_inputs=True, static_shapes=True)
        with quiet_torch(), mode, torch.inference_mode():
            fed = tuple(mode.from_tensor(one) for one in sample)
            return self._watch(genes, name, module, lambda: module(*fed))

    def _watch(self, genes: Genes, name: str, module: nn.Module, run: Callable[[], Any]) -> _Watch:
        """Run the network; again where it turns out that a module that was taken apart multiplies up by itself."""
        while True:
            parts = [module] if _name(module) in self._whole else self._split(module)
            watch = _Watch(module, {} if self._stand_ins else self._answers)
            with plain_paths(), watch.hooks(parts, [one for one in module.modules() if _name(one) in self._apart]):
                try:
                    with watch:
                        run()
                except Exception as error:
                    raise does_not_run(name, genes, error) from error
            if not watch.busy - self._whole:
                return watch
            self._whole |= watch.busy
            self._apart -= watch.busy

    def _split(self, module: nn.Module) -> list[nn.Module]:
        """The parts inside a module that is taken apart: itself if nothing is inside."""
        found = []
        for child in module.children():
            is_apart = _name(child) in self._apart or _is_list(child)
            found += self._split(child) if is_apart and list(child.children()) else [child]
        return found or [module]


class _Watch(TorchDispatchMode):
    """Notes operators, those of parts apart."""

    def __init__(self, network: nn.Module, answers: _Answers) -> None:
        """``answers`` are remembered from network to network."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._answers = answers
        self.parts: dict[str, Running] = {}
        #: Place of a part -> the operators of no part that follow it.
        self.between: dict[str, list[str]] = {}
        #: Classes whose own code, not a part's, multiplies up.
        self.busy: set[str] = set()
        self._network = network
        self._inside = [_name(network)]
        self._place = ""
        self._open: Running | None = None
        self._last: Running | None = None
        self._depth = 0
        self._calls: dict[str, int] = {}
        #: Tensors that were computed; they stay alive, so that no other gets their identity.
        self._made: dict[int, Tensor] = {}
        self._names: dict[str, dict[int, str]] = {}

    @contextlib.contextmanager
    def hooks(self, parts: Sequence[nn.Module], apart: Sequence[nn.Module]) -> Iterator[None]:
        """While it lasts, parts and modules that are taken apart say when they begin and end."""
        paths = {id(one): path for path, one in self._network.named_modules()}
        handles: list[RemovableHandle] = []
        for one in {id(part): part for part in parts}.values():
            handles.append(one.register_forward_pre_hook(self._entering(paths[id(one)]), with_kwargs=True))
            handles.append(one.register_forward_hook(self._leave))
        for one in apart:
            handles.append(one.register_forward_pre_hook(lambda module, _: self._inside.append(_name(module))))
            handles.append(one.register_forward_hook(lambda *_: self._inside.pop() and None))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            self._depth += 1
            # Whatever else is fed cannot be fed to a file of the part alone.
            if self._depth > 1 or kwargs or not args or not all(isinstance(one, Tensor) for one in args):
                return
            if self._last is not None and self._last.goes_on(module, args):
                self._open, self._last = self._last, None
                self._open.modules.append(module)
                return
            self._calls[path] = self._calls.get(path, -1) + 1
            self._place = f"{path}#{self._calls[path]}"
            self._open = self.parts[self._place] = Running([module], tuple(args))

        return enter

    def _leave(self, module: nn.Module, _: Any, output: Any) -> None:
        self._depth -= 1
        if not self._depth and self._open is not None:
            if self._open.kinds <= ALIASES:
                # It gives what it is fed, as dropout does.
                del self.parts[self._place]
            self._open.output, self._last, self._open = output, self._open, None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = pytree.tree_leaves((args, kwargs))
        results = self._answer(func, args, kwargs or {}, leaves)
        kind = func._schema.name.split("::")[-1]
        if self._open is None:
            self._last = None
            if any(word in kind for word in _MULTIPLYING):
                self.busy.add(self._inside[-1])
        else:
            self._open.kinds.add(kind)
        names, log = self._noting()
        spelled = [self._spell(one, names) for one in leaves]
        log.append(f"{func} {' '.join(spelled)}")
        for place, one in enumerate(pytree.tree_leaves(results)):
            if isinstance(one, Tensor):
                self._made[id(one)] = one
                names[id(one)] = f"{len(log)}.{place}"
        return results

    def _answer(self, func: Any, args: Any, kwargs: Any, leaves: Sequence[Any]) -> Any:
        """Run an operator, or remember what it gives: of tensors without data, shapes alone decide it."""
        tensors = [one for one in leaves if isinstance(one, Tensor)]
        if not tensors or func._schema.is_mutable or not all(one.is_meta for one in tensors):
            return func(*args, **kwargs)
        facts = ((one.shape, one.stride(), one.dtype) if isinstance(one, Tensor) else repr(one) for one in leaves)
        key = (func, *facts)
        if (known := self._answers.get(key)) is not None:
            is_one, made = known
            given = [torch.empty_strided(*sizes, dtype=dtype, device="meta") for *sizes, dtype in made]
            return given[0] if is_one else tuple(given)
        results = func(*args, **kwargs)
        given = [results] if isinstance(results, Tensor) else results
        if isinstance(given, list | tuple) and all(isinstance(one, Tensor) for one in given):
            made = tuple((tuple(one.shape), one.stride(), one.dtype) for one in given)
            self._answers[key] = (isinstance(results, Tensor), made)
        return results

    def _noting(self) -> tuple[dict[int, str], list[str]]:
        if self._open is not None:
            return self._open.names, self._open.log
        return self._names.setdefault(self._place, {}), self.between.setdefault(self._place, [])

    def _spell(self, one: Any, names: dict[int, str]) -> str:
        if not isinstance(one, Tensor):
            return repr(one)
        kind = "made" if id(one) in self._made else "weight"
        return f"{names.get(id(one), kind)}:{list(one.shape)}:{one.dtype}"


def _prefix(name: str) -> str:
    """The beginning of places in a part that has a file of its own; none in networks of one file."""
    return "" if name == WHOLE else f"{name}/"


def _describe(running: Running, genes: Genes, place: str) -> Described:
    graph = read_module(running.chain(), running.sample())
    values = [graph.value(name) for operator in graph.operators for name in (*operator.inputs, *operator.outputs)]
    return Described(
        type(running.modules[0]).__name__,
        tuple(tuple(one.shape[1:]) for one in running.arguments),
        int(sum(_macs(graph, at) for at in range(len(graph.operators)))),
        sum(p.numel() for p in {id(p): p for one in running.modules for p in one.parameters()}.values()),
        int(sum(math.prod(size for size in value.shape if isinstance(size, int)) for value in values)),
        len(graph.operators),
        dict(genes),
        place,
    )


def _macs(graph: Graph, place: int) -> float:
    """Of one operator; none of what is not known."""
    try:
        return family_of(graph.operators[place].family).work(graph, graph.operators[place]).macs
    except InputError:
        return 0.0


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _name(module: nn.Module) -> str:
    """Of its class: a file that is run anew makes its classes anew."""
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _is_list(module: nn.Module) -> bool:
    """Tell whether a module does nothing but call, or hold, others one after the other."""
    return type(module).forward in (nn.Sequential.forward, nn.ModuleList.forward, nn.ModuleDict.forward)


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
