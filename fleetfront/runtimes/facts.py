"""The record that tells everything about a runtime which is not its code: names, files, packages, precisions, clocks.

Each runtime has one in ``runtimes/<name>/facts.py``; ``runtimes.catalogue`` finds it. Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version

from fleetfront.quantities import Clock


class Half(StrEnum):
    """Who makes an fp32 network compute in fp16."""

    NOBODY = "nobody"
    #: The file must be written in fp16.
    FILE = "file"
    #: The runtime is told to, and takes the fp32 file.
    RUNTIME = "runtime"


class Listed(StrEnum):
    """Where a package is spoken of."""

    #: With its pip line where it is not installed.
    ALWAYS = "always"
    #: Only where it is installed: it stands in for others, and nobody need miss it.
    INSTALLED = "installed"
    #: In the list of what GPUs need.
    GPU = "gpu"


@dataclass(frozen=True, slots=True)
class OnDevice:
    """A runtime under one of its names on one kind of device.

    Attributes:
        name: the runtime of a target, e.g. ``tflite-gpu``.
        file_format: of the files that are timed there, e.g. ``onnx``.
        precisions: that networks of a space can be profiled in.
        clocks: that a run on one thread can be read under, the one that numbers are stated in first.
        half: who makes it compute in fp16.
        delegate: what the runtime's own log calls the delegate that the name stands for; empty for none.
        delegates: what users may type instead of ``name`` -> the delegate of the target then.
        program: ``module:function`` of what opens files on a GPU: (target, device, cache, stream) -> ``gpu.Opener``.
    """

    name: str
    file_format: str
    precisions: tuple[str, ...] = ("fp32",)
    clocks: tuple[Clock, ...] = (Clock.THREAD_CPU, Clock.WALL)
    half: Half = Half.NOBODY
    delegate: str = ""
    delegates: Mapping[str, str] = field(default_factory=dict)
    program: str = ""

    @property
    def suffix(self) -> str:
        """Of the files that are timed there."""
        return f".{self.file_format}"


@dataclass(frozen=True, slots=True)
class Package:
    """A distribution that a runtime needs.

    Attributes:
        name: on the registry.
        extra: of fleetfront, which brings it.
        purpose: what cannot be done without it.
        aliases: distributions of the same import under another name.
        listed: where it is spoken of.
    """

    name: str
    extra: str
    purpose: str
    aliases: tuple[str, ...] = ()
    listed: Listed = Listed.ALWAYS

    def installed(self) -> str | None:
        """The version that is installed under any of its names; None if none is."""
        for name in (self.name, *self.aliases):
            with suppress(PackageNotFoundError):
                return version(name)
        return None


@dataclass(frozen=True, slots=True)
class Library:
    """A part of an installed package that not every build of it has.

    Attributes:
        title: what people call it.
        module: the package, as it is imported.
        file: the part's file below the package, without what the platform puts around the name.
        purpose: what cannot be done without it.
        absent: the words for a build without it.
        install: the command that brings the package, where it is missing.
        replace: the command that brings a build with the part.
    """

    title: str
    module: str
    file: str
    purpose: str
    absent: str
    install: str
    replace: str


@dataclass(frozen=True, slots=True)
class Engine:
    """The code that computes a file's operators: a runtime's own kernels, or a delegate that takes some of them over.

    Attributes:
        title: what people call it.
        file_format: of the files that it meets.
        takes: kinds of operators that its makers list; None for all of the format but ``refuses``.
        refuses: kinds that its makers list as not supported.
        foreign: beginnings of kinds from outside the format that it has nevertheless.
        leaves: what becomes of operators that it does not take; empty if the file is refused.
        wants_fixed_shapes: whether it takes nothing of a file that leaves sizes open.
    """

    title: str
    file_format: str
    takes: frozenset[str] | None = None
    refuses: frozenset[str] = frozenset()
    foreign: tuple[str, ...] = ()
    leaves: str = ""
    wants_fixed_shapes: bool = False

    def is_taken(self, kind: str) -> bool:
        """Tell whether it takes operators of that kind, as far as the lists say."""
        if kind.startswith("custom ") or "." in kind:
            return kind.startswith(self.foreign)
        return kind not in self.refuses and (self.takes is None or kind in self.takes)


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """A runtime.

    Attributes:
        name: its own; one of its names on devices, where it runs on this machine.
        title: what people call it.
        code: ``module:class`` of its ``Runtime``.
        formats: kinds of file that it opens, each a suffix without the dot; what it is called in ``deploy.formats``.
        layout: of images in files written for it, ``NCHW`` or ``NHWC``.
        packages: what it needs, the one that holds the runtime itself first.
        on: kind of device (``cpu``, ``cuda``, ``adb``) -> its names there, the default first.
        snippets: templates in ``deploy/bundle/snippets/<name>`` that run its files, in the order of a bundle.
        fixed_batch_snippets: those of them that cannot feed a file of any batch.
        libraries: parts of its package that profiling on a GPU needs.
        engines: what computes its files' operators, the runtime itself first.
        pads_apart: whether its windows take no padding but TensorFlow's, so that any other is an operator before them.
        merges_equal: whether it computes equal operators once.
    """

    name: str
    title: str
    code: str
    formats: tuple[str, ...]
    layout: str
    packages: tuple[Package, ...]
    on: Mapping[str, tuple[OnDevice, ...]]
    snippets: tuple[str, ...] = ()
    fixed_batch_snippets: tuple[str, ...] = ()
    libraries: tuple[Library, ...] = ()
    engines: tuple[Engine, ...] = ()
    pads_apart: bool = False
    merges_equal: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every runtime of a target that means this one."""
        return tuple(dict.fromkeys((self.name, *(place.name for places in self.on.values() for place in places))))
