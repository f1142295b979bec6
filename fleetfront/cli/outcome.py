"""Say how a command ended: the sentences of its errors on stderr, and the exit code that each has."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import click

from fleetfront.cli.console import echo, hint
from fleetfront.errors import FleetfrontError, InputError

#: Exit code of an error that nobody foresaw, as ``sysexits.h`` has it, and the variable that shows where it came from.
UNEXPECTED, TRACEBACK = 70, "FLEETFRONT_TRACEBACK"
#: Characters of an unforeseen error's own words that fit into a line.
_REASON_SHOWN = 300


class PassedOn(Exception):
    """An error that ``exit_code_of`` leaves to its caller."""


def exit_code_of(run: Callable[[], object]) -> int:
    """Run a command, say what ended it if it failed, and return its exit code. Raises only a ``PassedOn``."""
    try:
        result = run()
    except FleetfrontError as error:
        return _fail(error)
    except click.exceptions.Abort as abort:
        # Click makes one of every KeyboardInterrupt, whose text says what was reached.
        return _interrupted(abort.__cause__)
    except KeyboardInterrupt as interruption:
        return _interrupted(interruption)
    except click.ClickException as error:
        said = io.StringIO()
        error.show(file=said)
        hint(said.getvalue().rstrip())
        return 2
    except PassedOn:
        raise
    except MemoryError:
        return _fail(
            InputError("The memory of this machine ran out.", "Close other programs, or ask for less at once.")
        )
    except Exception as error:
        refused = _refused(error)
        return failed_unexpectedly(error) if refused is None else _fail(refused)
    return result if isinstance(result, int) else 0


def colour() -> bool | None:
    """False where nobody wants it (https://no-color.org) or a terminal knows none, None where the stream decides."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def _interrupted(why: object) -> int:
    hint(str(why or "") or "Interrupted. Type the same command again to go on.")
    return 130


def failed_unexpectedly(error: Exception) -> int:
    """One line about an error that nobody foresaw, and how to report it."""
    if os.environ.get(TRACEBACK):
        hint("".join(traceback.format_exception(error)).rstrip())
    steps = [step for step in traceback.extract_tb(error.__traceback__) if "fleetfront" in step.filename]
    where = f" at {'/'.join(Path(steps[-1].filename).parts[-2:])}:{steps[-1].lineno}" if steps else ""
    what = " ".join(str(error).split())[:_REASON_SHOWN]
    _fail(
        FleetfrontError(
            f"fleetfront failed unexpectedly{where}: {type(error).__name__}{f': {what}' if what else ''}",
            f"This is a bug. Please report it with what the same command prints under {TRACEBACK}=1.",
        )
    )
    return UNEXPECTED


def _refused(error: Exception) -> FleetfrontError | None:
    """The message for an error of a disk or a folder; None where it is about neither: a bug to see."""
    if not isinstance(error, OSError):
        return None
    what = error.strerror or str(error)
    if error.filename is not None:
        return InputError(
            f"Cannot use {error.filename} ({what}).", "Check the path, its permissions and the space left on its disk."
        )
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    with contextlib.suppress(OSError, AttributeError):
        # Where stdout was the full one, Python would complain of what is still unwritten at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return InputError(f"Writing failed ({what}).", "Free some disk space and run the same command again.")


def _fail(error: FleetfrontError) -> int:
    with contextlib.suppress(BrokenPipeError):
        echo(f"{click.style('Error:', fg='red', bold=True)} {error.message}", err=True, color=colour())
        if error.remedy:
            hint(error.remedy)
    return error.exit_code
