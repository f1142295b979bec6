"""A Graph in float16 from its inputs to its outputs: what blocks and networks are profiled as in half precision.

Files that are handed out keep float32 at both ends (``precisions.half_compute``). A block inside a network has no such
ends, so a block with them would be timed with two conversions that the network does not make.
"""

from __future__ import annotations

import numpy as np

from fleetfront.errors import InputError
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Graph, GraphBuilder

_LARGEST_HALF = float(np.finfo(np.float16).max)


def half_throughout(graph: Graph) -> Graph:
    """``graph`` with batch-norm folded and every float32 input and weight as float16.

    Raises:
        InputError: a weight does not fit float16.
    """
    folded = fold_batch_norm(graph)
    builder = GraphBuilder(folded.name)
    for name in folded.inputs:
        tensor = folded.tensors[name]
        builder.input(name, tensor.shape, "float16" if tensor.dtype == "float32" else tensor.dtype)
    for name, array in folded.weights.items():
        if array.dtype != np.float32:
            builder.weight(name, array)
            continue
        if float(np.abs(array).max(initial=0.0)) > _LARGEST_HALF:
            raise InputError(
                f"Weight {name!r} of {folded.name!r} does not fit float16.", "Profile this one in fp32 or tf32."
            )
        builder.weight(name, array.astype(np.float16))
    for operator in folded.operators:
        builder.add(operator.family, operator.inputs, operator.output, **operator.attributes)
    return builder.build(folded.outputs, folded.labels)
