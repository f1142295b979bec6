"""Run a Graph in torch, as a pure function and as an ``nn.Module``.

Importing this module imports torch, so other modules import it inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fleetfront.errors import InputError, missing
from fleetfront.graphs.graph import Array, Graph, Operator
from fleetfront.graphs.operators.base import Running
from fleetfront.graphs.operators.catalogue import family_of

try:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

except ImportError as error:
    raise missing("torch", "torch", "Running a network in torch") from error

#: Share of the newest batch in a module's running statistics; torch's own default.
MOMENTUM = 0.1

#: Computes one batch_norm operator: (operator, data, scale, shift, mean, variance) -> data normalised.
BatchNorm = Callable[[Operator, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def batch_statistics(
    operator: Operator, data: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    """Batch-norm as in training: normalises with the statistics of ``data``; the running ones stay untouched."""
    return F.batch_norm(data, None, None, scale, shift, training=True, eps=operator.attributes["epsilon"])


def running_statistics(
    operator: Operator, data: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    """Batch-norm as in inference: normalises with the given ``mean`` and ``variance``."""
    return F.batch_norm(data, mean, variance, scale, shift, training=False, eps=operator.attributes["epsilon"])


def run_graph(
    graph: Graph,
    weights: Mapping[str, Tensor],
    inputs: Mapping[str, Tensor] | Sequence[Tensor],
    *,
    training: bool = False,
    batch_norm: BatchNorm | None = None,
) -> tuple[Tensor, ...]:
    """The outputs of ``graph`` in the order that it names them; differentiable in ``weights`` and ``inputs``.

    Args:
        graph: only its structure is used, so its own weights may be placeholders.
        weights: a tensor for every weight of the graph, by name.
        inputs: one tensor an input, NCHW for images, by name or in order. The batch may differ from the declared one.
        training: batch-norm uses the statistics of the batch instead of the given ones. Nothing is changed in place.
        batch_norm: computes batch-norm instead, e.g. to collect statistics; overrides ``training``.

    Raises:
        InputError: an input or weight is missing.
    """
    values = _fed(graph, inputs)
    normalise = batch_norm or (batch_statistics if training else running_statistics)
    running = Running(graph, normalise, _symbols(graph, values))
    last_use = {name: index for index, operator in enumerate(graph.operators) for name in operator.inputs}
    for index, operator in enumerate(graph.operators):
        operands = [values[name] if name in values else _weight(graph, weights, name) for name in operator.inputs]
        result = family_of(operator.family).torch(operands, operator, running)
        results = (result,) if isinstance(result, Tensor) else result
        values.update(zip(operator.outputs, results, strict=True))
        for name in operator.inputs:
            # Without this every activation of a network would stay in memory in inference.
            if last_use[name] == index and name not in graph.outputs:
                values.pop(name, None)
    return tuple(values[name] for name in graph.outputs)


def _fed(graph: Graph, inputs: Mapping[str, Tensor] | Sequence[Tensor]) -> dict[str, Tensor]:
    fed = dict(inputs) if isinstance(inputs, Mapping) else dict(zip(graph.inputs, inputs, strict=False))
    if set(fed) != set(graph.inputs) or (not isinstance(inputs, Mapping) and len(inputs) != len(graph.inputs)):
        raise InputError(
            f"Graph {graph.name!r} was fed {sorted(fed)}.", f"Feed exactly its inputs: {', '.join(graph.inputs)}."
        )
    return fed


def _weight(graph: Graph, weights: Mapping[str, Tensor], name: str) -> Tensor:
    try:
        return weights[name]
    except KeyError:
        raise InputError(
            f"No weight {name!r} was given for graph {graph.name!r}.", "Give a tensor for each of Graph.weights."
        ) from None


def _symbols(graph: Graph, values: Mapping[str, Tensor]) -> dict[str, int]:
    """The size of each symbolic dimension of the inputs, this time."""
    return {
        dimension: size
        for name, value in values.items()
        for dimension, size in zip(graph.tensors[name].shape, value.shape, strict=True)
        if isinstance(dimension, str)
    }


class TorchModule(nn.Module):
    """A graph as a module: convolution, linear and batch-norm weights are parameters, running statistics buffers.

    In training mode batch-norm uses the batch and moves the running statistics as ``nn.BatchNorm2d`` does.
    ``forward`` takes the inputs in order and returns the output, or a tuple of several.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        statistics = {name for o in graph.operators if o.family == "batch_norm" for name in o.inputs[3:]}
        self._attribute: dict[str, str] = {}
        for name, array in graph.weights.items():
            # A parameter's name may hold no dot and must not hide a method of the module.
            attribute = self._attribute[name] = "w/" + name.replace(".", "/")
            # A copy: the array may be read-only, shared or of zero stride.
            tensor = torch.from_numpy(np.array(array, order="C"))
            if name in statistics or not tensor.is_floating_point():
                self.register_buffer(attribute, tensor)
            else:
                self.register_parameter(attribute, nn.Parameter(tensor))
        if len(set(self._attribute.values())) != len(self._attribute):
            raise InputError(
                f"Two weights of graph {graph.name!r} differ only in '.' and '/'.", "Give them other names."
            )

    @property
    def weights(self) -> dict[str, Tensor]:
        """The live parameters and buffers by the graph's names."""
        return {name: getattr(self, attribute) for name, attribute in self._attribute.items()}

    def arrays(self) -> dict[str, Array]:
        """Copies of all weights by the graph's names, as a Graph holds them."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.weights.items()}

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        rule = _updating if self.training else running_statistics
        outputs = run_graph(self.graph, self.weights, inputs, batch_norm=rule)
        return outputs[0] if len(outputs) == 1 else outputs


def _updating(operator: Operator, data: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    epsilon = operator.attributes["epsilon"]
    return F.batch_norm(data, mean, variance, scale, shift, training=True, momentum=MOMENTUM, eps=epsilon)
