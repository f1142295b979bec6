"""Boosted trees as plain arrays: learned by XGBoost, kept in JSON and evaluated here.

XGBoost's own readers end the process on damaged files (a segmentation fault, for JSON as for UBJSON, in version 3.2),
so no bytes from outside reach them; and a model can be used where XGBoost is not installed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import missing

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: A deeper tree would not fit into arrays of perfect trees without waste; nothing here needs one.
_DEEPEST = 8
#: The most that all trees of a file may add up to: they predict logarithms of times, and e^150 is still a number.
_FURTHEST = 150.0
#: Rows of features times trees that are followed at a time: what is touched stays in the second-level cache.
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Trees:
    """t perfect binary trees of equal depth d over f columns. Node i's children are 2i + 1 (less) and 2i + 2.

    Attributes:
        columns: f, how many columns a row of features has.
        feature: int16[t, 2^d - 1]: which column an inner node looks at.
        threshold: float32[t, 2^d - 1]: rows below it go left.
        leaf: float32[t, 2^d].
    """

    columns: int
    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    leaf: NDArray[np.float32]

    def predict(self, features: FloatArray) -> FloatArray:
        """The sum of all trees' leaves, float64[n], for float64[n, f]."""
        count, inner = self.feature.shape
        depth = int(inner + 1).bit_length() - 1
        rows = max(1, _CHUNK // max(count, 1))
        first = np.arange(count, dtype=np.intp) * inner
        first_leaf = np.arange(count, dtype=np.intp) * (inner + 1)
        result = np.empty(len(features))
        # XGBoost compares in single precision.
        narrow = np.ascontiguousarray(features, dtype=np.float32)
        for start in range(0, len(narrow), rows):
            chunk = narrow[start : start + rows]
            base = np.arange(len(chunk), dtype=np.intp)[:, None] * self.columns
            node = np.zeros((len(chunk), count), dtype=np.intp)
            for _ in range(depth):
                at = first + node
                goes_right = chunk.take(base + self.feature.take(at)) >= self.threshold.take(at)
                node = 2 * node + 1 + goes_right
            result[start : start + rows] = self.leaf.take(first_leaf + node - inner).sum(axis=1, dtype=np.float64)
        return result

    def to_json(self) -> dict[str, Any]:
        """Plain values that ``from_json`` reads; thresholds of nodes that decide nothing are None."""
        return {
            "columns": self.columns,
            "feature": self.feature.tolist(),
            "threshold": [
                [value if np.isfinite(value) else None for value in tree] for tree in self.threshold.tolist()
            ],
            "leaf": self.leaf.tolist(),
        }

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """In files trees are what ``to_json`` makes of them."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls._checked,
            core_schema.dict_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(cls.to_json),
        )

    @classmethod
    def _checked(cls, data: Mapping[str, Any]) -> Trees:
        try:
            return cls.from_json(data)
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"its trees are damaged ({type(error).__name__}: {error})") from error

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trees:
        """Read ``to_json`` back. Raises KeyError, TypeError, ValueError or OverflowError else."""
        columns = int(data["columns"])
        feature = np.asarray(data["feature"], np.int16)
        opened = [[np.inf if value is None else value for value in tree] for tree in data["threshold"]]
        threshold, leaf = np.asarray(opened, np.float32), np.asarray(data["leaf"], np.float32)
        depth = int(leaf.shape[-1]).bit_length() - 1 if leaf.ndim == 2 else -1
        if depth < 0 or leaf.shape[1] != 2**depth or feature.shape != (len(leaf), 2**depth - 1):
            raise ValueError("its trees are not perfect binary trees")
        if threshold.shape != feature.shape or np.any(np.isnan(threshold)) or not np.all(np.isfinite(leaf)):
            raise ValueError("its trees hold thresholds or leaves that are not numbers")
        if np.abs(leaf).max(axis=1, initial=0.0).sum(dtype=np.float64) > _FURTHEST:
            raise ValueError("its trees add up to more than any logarithm")
        if columns < 1 or (feature.size and (feature.min() < 0 or feature.max() >= columns)):
            raise ValueError(f"its trees look at columns that are not among the {columns}")
        return cls(columns, feature, threshold, leaf)


def grow_trees(
    features: FloatArray, target: FloatArray, parameters: Mapping[str, Any], rounds: int, purpose: str
) -> Trees:
    """Boost ``rounds`` trees on float64[n, f] and float64[n] with XGBoost, single-threaded and from a fixed seed.

    Features must not be NaN. Raises MissingDependency, naming ``purpose``, if xgboost is not installed.
    """
    try:
        import xgboost
    except ImportError as error:
        raise missing("xgboost-cpu", "models", purpose) from error
    fixed = {"objective": "reg:squarederror", "base_score": 0.0, "tree_method": "exact", "nthread": 1, "seed": 0}
    booster = xgboost.train({**fixed, **parameters}, xgboost.DMatrix(features, target), num_boost_round=rounds)
    model = json.loads(bytes(booster.save_raw(raw_format="json")))
    grown = model["learner"]["gradient_booster"]["model"]["trees"]
    depth = int(parameters["max_depth"])
    if not 1 <= depth <= _DEEPEST:
        raise ValueError(f"max_depth is {depth}, not 1 to {_DEEPEST}")
    trees = Trees(
        features.shape[1],
        np.zeros((len(grown), 2**depth - 1), dtype=np.int16),
        np.full((len(grown), 2**depth - 1), np.inf, dtype=np.float32),
        np.zeros((len(grown), 2**depth), dtype=np.float32),
    )
    for index, tree in enumerate(grown):
        _copy_node(tree, 0, trees, index, 0)
    return trees


def _copy_node(tree: Mapping[str, Any], source: int, trees: Trees, index: int, node: int) -> None:
    """Copy the subtree at ``source`` to ``node``; below a leaf above the last level every row goes left (inf)."""
    inner = trees.feature.shape[1]
    left = tree["left_children"][source]
    if node >= inner:
        trees.leaf[index, node - inner] = tree["split_conditions"][source]
    elif left < 0:
        _copy_node(tree, source, trees, index, 2 * node + 1)
    else:
        trees.feature[index, node] = tree["split_indices"][source]
        trees.threshold[index, node] = tree["split_conditions"][source]
        _copy_node(tree, left, trees, index, 2 * node + 1)
        _copy_node(tree, tree["right_children"][source], trees, index, 2 * node + 2)
