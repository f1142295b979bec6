"""Run conformance checks on a part, and put a fault into a part to see that a check finds it.

A check is a function that takes a part (or a case: the part and what is needed to try it) and raises
``NotConforming``. Each kind of part has a tuple of them, e.g. ``SPACE_CHECKS``. With pytest::

    @pytest.mark.parametrize("check", SPACE_CHECKS, ids=check_name)
    def test_my_space(check):
        check(MySpace())
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

P = TypeVar("P")

#: A method of a part made faulty: called with the healthy method and then its arguments.
Fault = Callable[..., Any]


class NotConforming(AssertionError):
    """A part does not do what its protocol says. The message names the rule, then the value that breaks it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that failed, by name, and why."""

    check: str
    why: str


def expect(is_met: object, rule: str) -> None:
    """Raises NotConforming with ``rule`` unless ``is_met``."""
    if not is_met:
        raise NotConforming(rule)


def expect_refusal(error: type[Exception], rule: str, call: Callable[..., object], *arguments: object) -> Exception:
    """The exception of type ``error`` that the call raises. Raises NotConforming if it returns or raises another."""
    try:
        found = call(*arguments)
    except error as refusal:
        return refusal
    except Exception as other:
        raise NotConforming(f"{rule}: it raises {type(other).__name__} ({other})") from other
    raise NotConforming(f"{rule}: it returns {found!r:.200}")


def check_name(check: Callable[..., object]) -> str:
    """The name of a check in a test's identity: without ``check_``."""
    return check.__name__.removeprefix("check_")


def failures(checks: Sequence[Callable[[P], None]], part: P) -> tuple[Failure, ...]:
    """Every check that ``part`` fails, in order; an exception out of the part is a failure, too."""
    found = []
    for check in checks:
        try:
            check(part)
        except NotConforming as wrong:
            found.append(Failure(check_name(check), str(wrong)))
        except Exception as error:  # A stranger's part may fail in any way; that is a finding, not an end.
            found.append(Failure(check_name(check), f"{type(error).__name__}: {error}"))
    return tuple(found)


def with_fault(part: P, **faults: Fault) -> P:
    """A copy of ``part`` some of whose methods misbehave: each is called with the healthy method and its arguments."""
    kind = type(part)
    broken = {name: _broken(getattr(part, name), fault) for name, fault in faults.items()}
    faulty = copy.copy(part)
    object.__setattr__(faulty, "__class__", type(f"Faulty{kind.__name__}", (kind,), {"__slots__": (), **broken}))
    return faulty


def _broken(healthy: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
    def method(_self: object, *arguments: Any, **keywords: Any) -> Any:
        return fault(healthy, *arguments, **keywords)

    return method
