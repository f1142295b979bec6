"""Read a torch module into a Graph: run it once on tensors without data, and note what it calls.

Importing this module imports torch, so other modules import it inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from fleetfront.errors import InputError, missing
from fleetfront.graphs.graph import Graph, Origin
from fleetfront.graphs.operators.base import Value
from fleetfront.graphs.readers.node import WRONG, Plan
from fleetfront.graphs.readers.outline import Found, Outline
from fleetfront.graphs.readers.torch_operators import ALIASES, RULES, Call, Ref

try:
    import torch
    from torch import Tensor, nn
    from torch._subclasses.fake_tensor import (
        DataDependentOutputException,
        DynamicOutputShapeException,
        FakeTensorMode,
    )
    from torch.utils import _pytree as pytree
    from torch.utils._python_dispatch import TorchDispatchMode
except ImportError as error:
    raise missing("torch", "torch", "Reading a torch module") from error

_NORMS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"})

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
    try:
        with torch.inference_mode(), _as_in_inference(module), FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fakes, keywords = pytree.tree_map_only(Tensor, mode.from_tensor, (arguments, named))
            recorder.feed(fakes, keywords)
            with recorder.naming(), recorder:
                results = module(*fakes, **keywords)
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise InputError(
            f"What {recorder.name} does depends on the numbers that it is fed ({error}).",
            "Export it to ONNX for one case, and give that file.",
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

    def __init__(self, module: object, name: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name = name
        self._outline = Outline(name)
        self._names: dict[int, str] = {}
        #: Tensors stay alive, so that no other gets their identity.
        self._alive: list[Tensor] = []
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
        return graph

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = func._schema.name.split("::")[-1]
        if func.namespace == "aten" and kind not in RULES and kind not in ALIASES:
            with self:
                taken_apart = func.decompose(*args, **kwargs)
            if taken_apart is not NotImplemented:
                return taken_apart
        # What keeps shape and type is not asked for them: each parameter of a norm would take longer than its result.
        results = torch.empty_like(args[0]) if kind in _NORMS else func(*args, **kwargs)
        made = [one for one in pytree.tree_leaves(results) if isinstance(one, Tensor)]
        if made:
            self._note(kind, func, args, kwargs, made)
        return results

    def _note(self, kind: str, func: Any, args: Any, kwargs: Any, made: list[Tensor]) -> None:
        given = {
            argument.name: self._named(value) for argument, value in zip(func._schema.arguments, args, strict=False)
        }
        given |= {name: self._named(value) for name, value in kwargs.items()}
        values = tuple(map(_value, made))
        call = Call(kind, given, values, self._outline)
        tensors = call.tensors()
        if all(self._outline.is_weight(name) for name in tensors):
            for tensor, value in zip(made, values, strict=True):
                self._keep(tensor, self._outline.placeholder(f"{self._place()}{kind}", _numbers(value), value.dtype))
            return
        if kind in ALIASES and self._outline.value(tensors[0])[:2] == values[0][:2]:
            self._keep(made[0], tensors[0])
            return
        plan = self._plan(call, values)
        base = self._outline.free(f"{self._place()}{kind.rstrip('_')}")
        names = [base] if len(made) == 1 else [self._outline.free(f"{base}.{place}") for place in range(len(made))]
        origin = Origin(f"{func.namespace}.{kind}", base)
        found = [Found(name, value) for name, value in zip(names, values, strict=True)]
        if plan is not None and plan.image:
            self._outline.declare_image(plan.inputs[0], plan.image)
        self._outline.found(
            plan.family if plan else "",
            plan.inputs if plan else tensors,
            found,
            origin,
            **(plan.attributes if plan else {}),
        )
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
        self._alive.append(tensor)
        self._names[id(tensor)] = name

    def _named(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return Ref(self._name(value))
        if isinstance(value, list | tuple) and any(isinstance(one, Tensor) for one in value):
            return [self._named(one) for one in value if one is not None]
        return value

    def _name(self, tensor: Tensor) -> str:
        if id(tensor) not in self._names:
            value = _value(tensor)
            path = self._weights.get(id(tensor), "constant")
            self._keep(tensor, self._outline.placeholder(path, _numbers(value), value.dtype))
        return self._names[id(tensor)]


def _value(tensor: Tensor) -> Value:
    return Value(tuple(int(size) for size in tensor.shape), str(tensor.dtype).removeprefix("torch."))


def _numbers(value: Value) -> list[int]:
    return [int(size) for size in value.shape]
