"""Read a torch module into a Graph: run it once on tensors without data, and note what it calls.

Importing this module imports torch, so other modules import it inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from fleetfront.errors import InputError, missing
from fleetfront.graphs.graph import Graph, Origin
from fleetfront.graphs.operators.base import Value
from fleetfront.graphs.prune import drop_unread
from fleetfront.graphs.readers.node import WRONG, Plan
from fleetfront.graphs.readers.outline import Found, Outline
from fleetfront.graphs.readers.torch_operators import RULES, Call, Ref, recurrent
from fleetfront.graphs.readers.torch_words import ALIASES, MADE

try:
    import torch
    from torch import Tensor, nn
    from torch._ops import HigherOrderOperator
    from torch._subclasses.fake_tensor import (
        DataDependentOutputException,
        DynamicOutputShapeException,
        FakeTensorMode,
    )
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode, ShapeEnv
    from torch.utils import _pytree as pytree
    from torch.utils._python_dispatch import TorchDispatchMode

    from fleetfront.graphs.readers.torch_spelling import SPELLED, spell_recurrent
except ImportError as error:
    raise missing("torch", "torch", "Reading a torch module") from error

_NORMS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm"})
_CELLS = frozenset({"lstm", "gru"})
#: Operators that call functions by what is computed; the last of them says what comes of it.
_BODIES = frozenset({"cond", "while_loop"})

Sample = Tensor | Sequence[Any] | Mapping[str, Any]


def read_module(module: nn.Module | Callable[..., Any], sample: Sample) -> Graph:
    """The graph of what ``module`` does with ``sample`` in inference, with placeholders for weights.

    Nothing is computed and no file is written: the module's Python code runs once on tensors that have a shape and no
    data. Where it branches on shapes or on its own settings, the branch of ``sample`` is taken.

    Args:
        module: anything that is called with tensors and gives tensors.
        sample: one tensor, a sequence of positional arguments, or a mapping of arguments by name; only shapes and types
            are read.

    Raises:
        InputError: the module raises, or branches on the numbers that it is fed.
        MissingDependency: torch is not installed.
    """
    arguments, named = _arguments(sample)
    recorder = _Recorder(module, type(module).__name__)
    # Numbers that are computed become symbols; sizes that are would not be sizes.
    symbols = ShapeEnv(allow_scalar_outputs=True, allow_dynamic_output_shape_ops=False)
    fake = FakeTensorMode(allow_non_fake_inputs=True, shape_env=symbols, static_shapes=True)
    try:
        with torch.inference_mode(), _as_in_inference(module), fake as mode:
            fakes, keywords = pytree.tree_map_only(Tensor, mode.from_tensor, (arguments, named))
            recorder.feed(fakes, keywords)
            with recorder.naming(), recorder:
                results = module(*fakes, **keywords)
    except (DataDependentOutputException, GuardOnDataDependentSymNode) as error:
        raise InputError(
            f"{recorder.name} branches, loops or cuts by numbers that it computes from what it is fed.",
            "Give one case of it: fix the branch, or torch.jit.trace(module, input) keeps that of its input.",
        ) from error
    except DynamicOutputShapeException as error:
        raise InputError(
            f"How much {recorder.name} picks out depends on the numbers that it is fed ({error.func}).",
            "Give a module that takes a fixed number of elements, as torch.topk or a mask do.",
        ) from error
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{recorder.name} does not run on that input: {type(error).__name__}: {reason}",
            "Give an input that it takes: its shapes and types count, not its numbers.",
        ) from error
    return recorder.finish(results)


def _arguments(sample: Sample) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(sample, Tensor):
        return (sample,), {}
    return ((), dict(sample)) if isinstance(sample, Mapping) else (tuple(sample), {})


@contextmanager
def _as_in_inference(module: object) -> Iterator[None]:
    """Modules in evaluation mode, and transformers without their fused path, which would hide their operators."""
    modules = list(module.modules()) if isinstance(module, nn.Module) else []
    trained = [one for one in modules if one.training]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    for one in trained:
        one.training = False
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for one in trained:
            one.training = True


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operator that is called, with its tensors by name."""

    supports_higher_order_operators = True

    def __init__(self, module: object, name: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name = name
        self._outline = Outline(name)
        self._names: dict[int, str] = {}
        #: Tensors stay alive, so that no other gets their identity.
        self._alive: list[Tensor] = []
        #: Those of one storage, by its identity.
        self._sharing: dict[int, list[Tensor]] = {}
        #: The number that a symbol stands for -> the tensor that it was taken out of.
        self._numbers: dict[str, str] = {}
        self._path: list[str] = []
        self._modules: dict[int, str] = {}
        self._weights: dict[int, str] = {}
        if isinstance(module, nn.Module):
            self._modules = {id(one): path for path, one in module.named_modules()}
            for path, tensor in (*module.named_parameters(), *module.named_buffers()):
                self._weights[id(tensor)] = path

    def feed(self, arguments: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Declare the tensors that the module is fed."""
        flat = [(str(place), one) for place, one in enumerate(arguments)] + list(named.items())
        for word, given in flat:
            tensors = [one for one in pytree.tree_leaves(given) if isinstance(one, Tensor)]
            for place, tensor in enumerate(tensors):
                name = f"input {word}" if word.isdigit() else word
                name = self._outline.free(name if len(tensors) == 1 else f"{name}.{place}")
                value = _value(tensor)
                self._outline.input(name, value.shape, value.dtype)
                self._keep(tensor, name)

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Operators are named after the module that calls them."""

        def enter(one: nn.Module, _: Any) -> None:
            self._path.append(self._modules.get(id(one), ""))

        def leave(_: nn.Module, __: Any, ___: Any) -> None:
            self._path.pop()

        hooks = torch.nn.modules.module
        handles = [hooks.register_module_forward_pre_hook(enter), hooks.register_module_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def finish(self, results: Any) -> Graph:
        """The graph, whose outputs are the tensors among what the module gave."""
        tensors = [one for one in pytree.tree_leaves(results) if isinstance(one, Tensor)]
        graph = self._outline.finish((self._names.get(id(one), "") for one in tensors), {})
        if not graph.outputs:
            raise InputError(f"{self.name} computes no tensor from what it is fed.", "Give a module that does.")
        return drop_unread(graph)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator):
            return self._chosen(func, args)
        name = func._schema.name.split("::")[-1]
        kind = name.rstrip("_") if func._schema.is_mutable else name
        if kind == "_pack_padded_sequence":
            raise InputError(
                f"{self.name} packs sequences by lengths that only numbers tell.",
                "Feed its layers padded sequences as they are: the longest takes as long.",
            )
        spelled = self._spelled(func, kind, args, kwargs)
        if spelled is not NotImplemented:
            return self._written(args[0], self._name(spelled)) if kind != name else spelled
        results = self._results(func, kind, args, kwargs)
        made = [one for one in pytree.tree_leaves(results) if isinstance(one, Tensor)]
        if made:
            self._note(kind, func, args, kwargs, made)
            if kind != name and made[0] is args[0]:
                self._written(args[0], self._names[id(args[0])])
        return results

    def _results(self, func: Any, kind: str, args: Any, kwargs: Any) -> Any:
        """Give what an operator gives, without data. Norms and linear are not asked: that would take longest of all."""
        if kind in _NORMS:
            return torch.empty_like(args[0])
        if kind == "linear" and args[0].shape[-1:] == args[1].shape[-1:]:
            return args[0].new_empty((*args[0].shape[:-1], *args[1].shape[:-1]))
        results = func(*args, **kwargs)
        if kind == "_local_scalar_dense":
            self._numbers[str(results.node.expr)] = self._name(args[0])
        return results

    def _spelled(self, func: Any, kind: str, args: Any, kwargs: Any) -> Any:
        """Call smaller operators, which are noted in its place; NotImplemented if it is one operator in files."""
        if kind in _CELLS:
            with self:
                return spell_recurrent(self._cell(kind), *args, **kwargs)
        if kind in SPELLED:
            with self:
                found = SPELLED[kind](*args, **kwargs)
            if found is not NotImplemented:
                return found
        if func.namespace != "aten" or kind in RULES or kind in ALIASES or kind in MADE:
            return NotImplemented
        with self:
            found = func.decompose(*args, **kwargs)
            if found is NotImplemented and (table := _decompositions().get(func)) is not None:
                found = table(*args, **kwargs)
        return found

    def _cell(self, family: str) -> Callable[..., Sequence[Tensor]]:
        """Notes one layer of cells."""

        def cell(data: Tensor, others: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> list[Tensor]:
            made = [data.new_empty(tuple(shape)) for shape in shapes]
            plan = recurrent(self._outline, family, [self._name(one) for one in (data, *others)])
            values = tuple(map(_value, made))
            said = Call(family, {}, values, self._outline).said()
            self._keep_found(plan._replace(attributes={**plan.attributes, **said}), f"aten.{family}", made)
            return made

        return cell

    def _chosen(self, func: Any, args: Any) -> Any:
        """A branch or a loop that runs by what is computed: one operator that nobody can tell the work of."""
        word = str(func.name())
        bodies = [one for one in args if callable(one)]
        if word not in _BODIES or not bodies:
            raise InputError(
                f"{self.name} runs torch.{word}, which is not read.", "Give a module without it, or its ONNX file."
            )
        fed = [one for given in args for one in (given if isinstance(given, list | tuple) else [given])]
        tensors = [one for one in fed if isinstance(one, Tensor)]
        results = bodies[-1](*(tensors[1:] if word == "cond" else tensors))
        made = [one for one in pytree.tree_leaves(results) if isinstance(one, Tensor)]
        self._keep_found(Plan("", [self._name(one) for one in tensors]), f"torch.{word}", made)
        return results

    def _written(self, tensor: Tensor, name: str) -> Tensor:
        """``tensor``, which was written into and goes by ``name`` now; so was what it is a view of."""
        before, self._names[id(tensor)] = self._names[id(tensor)], name
        for other in self._sharing[_storage(tensor)]:
            held = self._names[id(other)]
            if other is tensor or held == name:
                continue
            if held == before and other.shape == tensor.shape:
                self._names[id(other)] = name
            elif other.numel() >= tensor.numel():
                self._names[id(other)] = self._put(name, held, _value(other), is_whole=other.numel() == tensor.numel())
        return tensor

    def _put(self, part: str, whole: str, value: Value, *, is_whole: bool) -> str:
        """The tensor ``whole`` with ``part`` in its place."""
        name = self._outline.free(f"{self._place()}written")
        said = Call("", {}, (value,), self._outline).said()
        family, inputs, said = (
            ("reshape", (part,), {"shape": value.shape})
            if is_whole
            else ("lookup", (whole, part), {"function": "scatternd", **said})
        )
        self._outline.found(family, inputs, [Found(name, value)], Origin("aten.copy_", name), **said)
        return name

    def _note(self, kind: str, func: Any, args: Any, kwargs: Any, made: list[Tensor]) -> None:
        given = {
            argument.name: self._named(value) for argument, value in zip(func._schema.arguments, args, strict=False)
        }
        given |= {name: self._named(value) for name, value in kwargs.items()}
        values = tuple(map(_value, made))
        call = Call(kind, given, values, self._outline)
        tensors = call.tensors()
        if kind in MADE or all(self._outline.is_weight(name) for name in tensors):
            for tensor, value in zip(made, values, strict=True):
                self._keep(tensor, self._outline.placeholder(f"{self._place()}{kind}", _numbers(value), value.dtype))
            return
        if kind in ALIASES and self._outline.value(tensors[0])[:2] == values[0][:2]:
            self._keep(made[0], tensors[0])
            return
        self._keep_found(self._plan(call, values) or Plan("", tensors), f"{func.namespace}.{kind}", made)

    def _keep_found(self, plan: Plan, origin: str, made: Sequence[Tensor]) -> None:
        """Add an operator that gives ``made``, under the name of the module that calls it."""
        base = self._outline.free(f"{self._place()}{origin.partition('.')[2]}")
        names = [base] if len(made) == 1 else [self._outline.free(f"{base}.{place}") for place in range(len(made))]
        found = [Found(name, _value(tensor)) for name, tensor in zip(names, made, strict=True)]
        if plan.image:
            self._outline.declare_image(plan.inputs[0], plan.image)
        self._outline.found(plan.family, plan.inputs, found, Origin(origin, base), **plan.attributes)
        for tensor, name in zip(made, names, strict=True):
            self._keep(tensor, name)

    def _plan(self, call: Call, values: tuple[Value, ...]) -> Plan | None:
        if call.kind in ALIASES:
            return Plan("cast", call.tensors()[:1], {"dtype": values[0].dtype})
        try:
            rule = RULES.get(call.kind)
            return rule(call) if rule else None
        except WRONG:
            # The rule does not know such a call: it is kept as it is.
            return None

    def _place(self) -> str:
        path = next((path for path in reversed(self._path) if path), "")
        return f"{path}." if path else ""

    def _keep(self, tensor: Tensor, name: str) -> None:
        if id(tensor) not in self._names:
            self._alive.append(tensor)
            self._sharing.setdefault(_storage(tensor), []).append(tensor)
        self._names[id(tensor)] = name

    def _named(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return Ref(self._name(value))
        if isinstance(value, list | tuple) and any(isinstance(one, Tensor) for one in value):
            return [self._named(one) for one in value]
        if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
            return Ref(self._numbers[min(map(str, value.node.expr.free_symbols))])
        return value

    def _name(self, tensor: Tensor) -> str:
        if id(tensor) not in self._names:
            value = _value(tensor)
            path = self._weights.get(id(tensor), "constant")
            self._keep(tensor, self._outline.placeholder(path, _numbers(value), value.dtype))
        return self._names[id(tensor)]


@cache
def _decompositions() -> Mapping[Any, Callable[..., Any]]:
    """Those that torch's exporter uses."""
    from torch._decomp import core_aten_decompositions
    from torch._decomp.decompositions import adaptive_avg_pool2d

    table: Mapping[Any, Callable[..., Any]] = core_aten_decompositions()
    return {**table, torch.ops.aten._adaptive_avg_pool2d.default: adaptive_avg_pool2d}


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _value(tensor: Tensor) -> Value:
    return Value(tuple(int(size) for size in tensor.shape), str(tensor.dtype).removeprefix("torch."))


def _numbers(value: Value) -> list[int]:
    return [int(size) for size in value.shape]
