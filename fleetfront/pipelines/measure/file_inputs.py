"""Give a user's file the inputs that it is timed with: sizes that it leaves open, arrays, and the batch they make."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fleetfront.errors import InputError
from fleetfront.graphs.input_shapes import Shape, batch_notes, resolve_shapes
from fleetfront.profilers.base import FileInputs
from fleetfront.profilers.file_facts import batch_of, file_inputs
from fleetfront.profilers.kinds.base import Capability
from fleetfront.profilers.kinds.catalogue import find_kind
from fleetfront.profilers.steering import steering_inputs
from fleetfront.runtimes.base import Port
from fleetfront.runtimes.feeds import fitted_arrays, load_arrays, refuse_to_draw
from fleetfront.targets import UNKNOWN_BATCH, Target


@dataclass(frozen=True, slots=True)
class SizedFile:
    """A file whose inputs are all of a size.

    Attributes:
        path: the file, or a copy with the sizes in it where agents run files as they are.
        target: with the batch that the inputs make.
        inputs: what an agent is told to feed.
        notes: what was assumed, in sentences, unless the agent says so itself.
    """

    path: Path
    target: Target
    inputs: FileInputs = field(default_factory=FileInputs)
    notes: tuple[str, ...] = ()


def size_inputs(
    path: Path,
    target: Target,
    folder: Path,
    shapes: Mapping[str, Shape],
    arrays: Path | None,
    *,
    says_batch: bool = False,
) -> SizedFile:
    """Decide on the sizes of a file's inputs before a device is asked.

    Args:
        path: the file.
        target: where it will run.
        folder: takes a copy with the sizes, if one is needed.
        shapes: of inputs, as the user says.
        arrays: a ``.npz`` file with what inputs are fed.
        says_batch: whether the batch of ``target`` is the user's word; else a batch of 1 is nobody's.

    A batch above 1 in ``target`` is what a size that is left open for it becomes.

    Raises:
        InputError: a size that nobody says, a shape or array that does not fit, values that must be given, a batch that
            the file does not have, or arrays where none can be fed.
    """
    kind = find_kind(target.device)
    is_fed = kind is not None and Capability.INPUTS in kind.can
    given = {} if arrays is None else load_arrays(arrays)
    stated = {**shapes, **{name: array.shape for name, array in given.items()}}
    ports = file_inputs(path)
    if ports is None:
        # The agent's runtime tells of the inputs then; whoever only runs files cannot be told of any.
        if stated and not is_fed:
            raise InputError(f"Nothing here can read the inputs of {path.name}.", "Run: pip install 'fleetfront[cpu]'")
        return SizedFile(path, target, _said(shapes, arrays, may_steer=True))
    _, notes = fitted_arrays(ports, given)
    resolved = resolve_shapes(ports, stated, max(1, target.batch))
    sized = replace(target, batch=_batch(ports, resolved, target.batch, says_batch))
    steering = steering_inputs(path) or ()
    refuse_to_draw([port for port in ports if port.name in steering and port.name not in given])
    if is_fed:
        fixed = shapes if target.batch <= 1 else {name: resolved[name] for name in resolved if name not in given}
        return SizedFile(path, sized, _said(fixed, arrays))
    if any(array.dtype.kind in "iu" for array in given.values()):
        raise InputError(
            f"{target.device} feeds files random numbers, no arrays.", "Give --shape, or use --device cpu."
        )
    notes += [f"{name}: only its shape is used; {target.device} feeds files random numbers" for name in given]
    notes += batch_notes(ports, resolved, stated)
    if any(any(isinstance(size, str) for size in port.shape) for port in ports):
        path = _write_sized(path, folder, resolved)
    return SizedFile(path, sized, notes=tuple(notes))


def _batch(ports: Sequence[Port], shapes: Mapping[str, Shape], wanted: int, is_said: bool) -> int:
    """The inputs' batch; where they do not tell, the one that is wanted. Raises InputError if they contradict it."""
    found = batch_of(ports, [shapes[port.name] for port in ports])
    if UNKNOWN_BATCH in (found, wanted) or (wanted == 1 and not is_said):
        return found or (wanted if wanted > 1 else UNKNOWN_BATCH)
    if found != wanted:
        raise InputError(
            f"The inputs of the file hold a batch of {found}, not {wanted}: {', '.join(map(str, ports))}.",
            "Say that batch in what --shape or --inputs give, too, or leave --batch out."
            if any(port.shape and isinstance(port.shape[0], str) for port in ports)
            else "Leave --batch out, or write the file again for that batch.",
        )
    return found


def _said(shapes: Mapping[str, Shape], arrays: Path | None, *, may_steer: bool = False) -> FileInputs:
    sha256 = "" if arrays is None else hashlib.sha256(arrays.read_bytes()).hexdigest()
    return FileInputs(tuple(sorted(shapes.items())), sha256, may_steer)


def _write_sized(path: Path, folder: Path, shapes: Mapping[str, Shape]) -> Path:
    """A copy of a .tflite or .onnx file whose inputs have these shapes, in the order of its inputs."""
    copy = folder / path.name
    copy.write_bytes((_sized_onnx if path.suffix.lower() == ".onnx" else _sized_tflite)(path.read_bytes(), shapes))
    return copy


def _sized_tflite(data: bytes, shapes: Mapping[str, Shape]) -> bytes:
    from fleetfront.deploy.writers.tflite.flatbuffer import pack_model, unpack_model

    model = unpack_model(data)
    graph = model.subgraphs[0]
    for index, shape in zip(graph.inputs, shapes.values(), strict=True):
        graph.tensors[index].shape = list(shape)
        graph.tensors[index].shapeSignature = None
    return pack_model(model)


def _sized_onnx(data: bytes, shapes: Mapping[str, Shape]) -> bytes:
    import onnx

    model = onnx.load_from_string(data)
    for port in model.graph.input:
        for size, value in zip(port.type.tensor_type.shape.dim, shapes.get(port.name, ()), strict=False):
            size.dim_value = value
    written: bytes = model.SerializeToString()
    return written
