"""Keep some classes alone, of labelled images and of a supernet's classifier: after EAS, a group of classes is a task.

A search judged on them finds a front of its own, and deployed networks answer with these classes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.datasets import Dataset, content_hash
from fleetfront.errors import InputError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.spaces.supernet.subnets import Supernet

#: Between weights and classes in ``supernet:WEIGHTS,classes=cat|dog``, and between classes.
_BEFORE, _BETWEEN = ",classes=", "|"


def parse_classes(texts: Sequence[str]) -> tuple[str, ...]:
    """The names in ``a,b``, of several such texts. Raises InputError for an empty name."""
    names = tuple(name.strip() for text in texts for name in text.split(","))
    if not all(names):
        raise InputError(f"--classes {', '.join(texts)} has an empty name.", "Write the names, e.g. --classes cat,dog.")
    return names


def spell_classes(source: str, classes: Sequence[str]) -> str:
    """A spelling of ``--accuracy`` with the classes that it is judged on; the same without any.

    Raises InputError for an accuracy without labelled images, and for a name that the spelling cannot hold.
    """
    if not classes:
        return source
    if not source.startswith("supernet:"):
        raise InputError(
            f"Classes are chosen among labelled images, and the accuracy {source} looks at none.",
            "Leave --classes out, or search with --accuracy supernet:WEIGHTS --images FOLDER.",
        )
    odd = [name for name in classes if _BETWEEN in name]
    if odd:
        raise InputError(f"The class {odd[0]!r} cannot be spelled in a list.", "Rename its folder.")
    # In one order, so that one task has one spelling.
    return f"{source}{_BEFORE}{_BETWEEN.join(sorted(classes))}"


def split_classes(source: str) -> tuple[str, tuple[str, ...]]:
    """A spelling without its classes, and these; none where it is judged on all."""
    before, separator, names = source.rpartition(_BEFORE)
    return (before, tuple(names.split(_BETWEEN))) if separator else (source, ())


def check_classes(wanted: Sequence[str], known: Sequence[str], of: str) -> tuple[str, ...]:
    """The wanted ones in the order of the known, of what ``of`` names.

    Raises InputError for an unknown name, with the nearest that there is, for one named twice, and for fewer than two.
    """
    for name in wanted:
        if name not in known:
            raise unknown(f"class of {of}", name, known)
    if len(set(wanted)) < max(len(wanted), 2):
        raise InputError(
            f"The classes {', '.join(wanted)} are {len(set(wanted))} different one(s).", "Name two or more, each once."
        )
    return tuple(name for name in known if name in wanted)


def only_images(images: Dataset, classes: Sequence[str]) -> Dataset:
    """The images of the classes alone, in the splits that they were in. Raises InputError as ``check_classes``."""
    kept = check_classes(classes, images.class_names, images.source)
    place = np.full(len(images.class_names), -1, dtype=np.int64)
    place[[images.class_names.index(name) for name in kept]] = np.arange(len(kept))
    labels = place[images.labels]
    rows = np.flatnonzero(labels >= 0)
    row_of = np.cumsum(labels >= 0) - 1
    split = {name: row_of[of[labels[of] >= 0]] for name, of in images.split.items()}
    chosen = replace(images, images=images.images[rows], labels=labels[rows], class_names=kept, split=split)
    return replace(chosen, content_hash=content_hash(chosen))


def only_outputs(supernet: Supernet, classes: Sequence[str], named: Sequence[str] = ()) -> Supernet:
    """A supernet whose classifier has the outputs of the classes alone, in the order of its own.

    Args:
        supernet: which is not changed.
        classes: to keep.
        named: its classes, one an output, where its file does not say them: those of the images that go with it.

    Raises:
        InputError: as ``check_classes``; nobody knows the names of its outputs, weights and images name others, or
            the space has no classifier that outputs can be cut from.
    """
    from fleetfront.spaces.supernet.subnets import Supernet

    space, told = supernet.space, tuple(map(str, supernet.provenance.class_names))
    known = told or tuple(named)
    if told and named and told != tuple(named):
        raise InputError(
            f"The images are of {len(named)} classes ({', '.join(named[:3])}, ...), the weights of {len(told)} "
            f"({', '.join(told[:3])}, ...).",
            "Give images of the weights' classes.",
        )
    if len(known) != space.classes:
        raise InputError(
            f"The weights have {space.classes} outputs, and {len(known)} classes have names.",
            "Give --images FOLDER with one subfolder a class of the weights.",
        )
    kept = check_classes(classes, known, "the weights")
    outputs = [known.index(name) for name in kept]
    smaller = space.with_classes(len(kept))
    shapes = smaller.supernet_shapes()
    tensors = {name: _cut(tensor, shapes[name], outputs) for name, tensor in supernet.tensors.items()}
    source = f"{supernet.source}, {len(kept)} of {len(known)} classes"
    return Supernet(smaller, tensors, replace(supernet.provenance, class_names=kept, source=source))


def _cut(tensor: Tensor, shape: tuple[int, ...], outputs: list[int]) -> Tensor:
    """The outputs of a tensor along the one axis in which a smaller classifier's is shorter."""
    import torch

    for axis, (here, there) in enumerate(zip(tensor.shape, shape, strict=True)):
        if here != there:
            return tensor.index_select(axis, torch.tensor(outputs)).contiguous()
    return tensor
