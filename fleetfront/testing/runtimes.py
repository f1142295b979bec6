"""Check that a runtime keeps the promises of ``Runtime`` and ``Session`` on a model file that it opens."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.runtimes.base import Runtime, Session
from fleetfront.testing.checks import Fault, expect, expect_refusal, with_fault

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class RuntimeCase:
    """A runtime to be tried.

    Attributes:
        data: bytes of a model file that it opens.
        feeds: valid inputs of the file; the output must depend on the values of at least one.
        expected: what the file computes of them, by name of its outputs; empty where nobody knows.
        suffix: of such files, with the dot.
        foreign: bytes of models that it does not open.
    """

    runtime: Runtime
    data: bytes
    feeds: Feeds
    expected: Feeds
    suffix: str
    foreign: tuple[bytes, ...] = ()


def check_names(case: RuntimeCase) -> None:
    """The runtime has a name and, as its package is installed, a version."""
    expect(case.runtime.name, "a runtime has a name")
    expect(any(c.isdigit() for c in case.runtime.version()), f"the version has a number: {case.runtime.version()!r}")


def check_ports(case: RuntimeCase) -> None:
    """Ports tell name, shape and type of what the file takes and gives, from bytes as from a path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"net{case.suffix}"
        path.write_bytes(case.data)
        with closing(case.runtime.open(path)) as session, closing(case.runtime.open(case.data)) as other:
            expect(list(session.inputs) == list(other.inputs), "bytes and path have the same inputs")
            ports = {port.name: port for port in session.inputs}
            expect(set(ports) == set(case.feeds), f"the inputs are {sorted(case.feeds)}, not {sorted(ports)}")
            for name, feed in case.feeds.items():
                expect(ports[name].dtype == feed.dtype.name, f"{name} is {feed.dtype.name}, not {ports[name].dtype}")
                expect(len(ports[name].shape) == feed.ndim, f"{name} has {feed.ndim} dimensions: {ports[name].shape}")
            results, outputs = session.run(case.feeds), {port.name: port for port in session.outputs}
    expect(set(results) == set(outputs), f"run gives the outputs {sorted(outputs)}, not {sorted(results)}")
    for name, result in results.items():
        shape = outputs[name].shape
        fits = len(shape) == result.ndim and all(
            isinstance(said, str) or said == found for said, found in zip(shape, result.shape, strict=True)
        )
        expect(fits, f"output {name} has its port's shape {shape}, not {result.shape}")
        expect(outputs[name].dtype == result.dtype.name, f"output {name} is of its port's type {outputs[name].dtype}")


def check_results(case: RuntimeCase) -> None:
    """Results are right, the same in every run and session, depend on the inputs, and leave the inputs alone."""
    kept = {name: feed.copy() for name, feed in case.feeds.items()}
    with closing(case.runtime.open(case.data)) as session, closing(case.runtime.open(case.data)) as other:
        first = _copied(session.run(case.feeds))
        for name, wanted in case.expected.items():
            expect(np.allclose(first[name], wanted, rtol=1e-3, atol=1e-5), f"{name} is {wanted}, not {first[name]}")
        changed = _copied(session.run({name: np.asarray(feed + feed + 1) for name, feed in case.feeds.items()}))
        for where, again in (("run", session.run(case.feeds)), ("session", other.run(case.feeds))):
            equal = all(np.array_equal(first[name], again[name]) for name in first)
            expect(equal, f"results are the same in every {where}")
    expect(any(not np.array_equal(first[name], changed[name]) for name in first), "results depend on the inputs")
    expect(all(np.array_equal(kept[name], case.feeds[name]) for name in kept), "feeds are left alone")


def check_bound(case: RuntimeCase) -> None:
    """A bound call runs often, takes in its feeds once, and leaves ``run`` as it was."""
    with closing(case.runtime.open(case.data)) as session:
        before = _copied(session.run(case.feeds))
        feeds = {name: feed.copy() for name, feed in case.feeds.items()}
        call = session.bind(feeds)
        expect(callable(call), "bind returns what can be called")
        for feed in feeds.values():
            feed[...] = 0
        for _ in range(3):
            call()
        after = session.run(case.feeds)
    expect(all(np.array_equal(before[name], after[name]) for name in before), "run is the same after bound calls")


def check_wrong_feeds(case: RuntimeCase) -> None:
    """Missing, superfluous, misshapen and mistyped feeds are InputErrors, of ``run`` and of ``bind``."""
    name, feed = next(iter(case.feeds.items()))
    wrong: dict[str, Feeds] = {
        "a missing feed": {key: value for key, value in case.feeds.items() if key != name},
        "a superfluous feed": {**case.feeds, "superfluous": feed},
        "a misshapen feed": {**case.feeds, name: np.stack([feed, feed])},
        "a mistyped feed": {**case.feeds, name: feed.astype(np.float64 if feed.dtype != np.float64 else np.float32)},
    }
    with closing(case.runtime.open(case.data)) as session:
        for what, feeds in wrong.items():
            expect_refusal(InputError, f"run refuses {what}", session.run, feeds)
            expect_refusal(InputError, f"bind refuses {what}", session.bind, feeds)


def check_broken_files(case: RuntimeCase) -> None:
    """A file that is no model, or half of one, is an InputError, from bytes and paths; so is a path without a file."""
    data = case.data
    with tempfile.TemporaryDirectory() as folder:
        missing = Path(folder) / f"nothing-there{case.suffix}"
        refusal = expect_refusal(InputError, "a missing file is refused", case.runtime.open, missing)
        expect("nothing-there" in str(refusal), f"the refusal names the file: {refusal}")
        broken = (b"", b"\0", b"not a model at all" * 9, data[: len(data) // 2], data[:-8], *case.foreign)
        for number, content in enumerate(broken):
            path = Path(folder) / f"{number}{case.suffix}"
            path.write_bytes(content)
            for source in (path, content):
                what = f"{len(content)} bytes of no model are refused"
                expect_refusal(InputError, what, case.runtime.open, source)


RUNTIME_CHECKS: tuple[Callable[[RuntimeCase], None], ...] = (
    check_names,
    check_ports,
    check_results,
    check_bound,
    check_wrong_feeds,
    check_broken_files,
)


def _copied(results: Feeds) -> dict[str, NDArray[Any]]:
    return {name: np.array(array) for name, array in results.items()}


def _sessions(**faults: Fault) -> dict[str, Fault]:
    def opened(healthy: Callable[..., Session], *arguments: Any, **keywords: Any) -> Session:
        return with_fault(healthy(*arguments, **keywords), **faults)

    return {"open": opened}


def _results(change: Callable[[NDArray[Any]], NDArray[Any]]) -> dict[str, Fault]:
    return _sessions(run=lambda run, feeds: {name: change(array) for name, array in run(feeds).items()})


def _noisy(array: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(array + np.random.default_rng().normal(size=array.shape).astype(array.dtype))


def _overwriting(run: Callable[[Feeds], Feeds], feeds: Feeds) -> Feeds:
    found = run(feeds)
    for feed in feeds.values():
        feed[...] = 0
    return found


def _lenient(run: Callable[[Feeds], Feeds], feeds: Feeds) -> Feeds:
    return run({name: feed[0] if name != "superfluous" and feed.ndim > 2 else feed for name, feed in feeds.items()})


def _opening_anything(open_file: Callable[..., Session], source: Path | bytes, **keywords: Any) -> Session | None:
    try:
        return open_file(source, **keywords)
    except InputError:
        return None


#: Faults by the promise that they break; ``faulty_runtime`` puts one in.
_FAULTS: dict[str, dict[str, Fault]] = {
    "results change between runs": _results(_noisy),
    "results do not depend on the inputs": _results(np.zeros_like),
    "results have another shape": _results(lambda array: array[None]),
    "results have other names": _sessions(run=lambda run, feeds: {f"{n}_": a for n, a in run(feeds).items()}),
    "feeds are overwritten": _sessions(run=_overwriting),
    "misshapen feeds are taken": _sessions(run=_lenient),
    "files that are no models are opened": {"open": _opening_anything},
    "the version is empty": {"version": lambda _version: ""},
}
RUNTIME_FAULTS = tuple(_FAULTS)


def faulty_runtime(case: RuntimeCase, fault: str) -> RuntimeCase:
    """The case with one of ``RUNTIME_FAULTS`` put into its runtime. Raises KeyError on others."""
    return replace(case, runtime=with_fault(case.runtime, **_FAULTS[fault]))
