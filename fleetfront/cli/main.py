"""The ``fleetfront`` command: finds the verb, runs it, turns errors into messages and exit codes. No verb is here."""

from __future__ import annotations

import importlib
import os
import select
import signal
import sys
from types import FrameType
from typing import Any

import click

from fleetfront import __version__
from fleetfront.cli.outcome import PassedOn, colour, exit_code_of, failed_unexpectedly
from fleetfront.errors import unknown

#: Verb -> (where it lives, one line of help). A verb's module is imported when it is used.
COMMANDS: dict[str, tuple[str, str]] = {
    "quickstart": ("fleetfront.cli.quickstart:quickstart", "The whole story on this machine in a few minutes."),
    "devices": ("fleetfront.cli.devices:devices", "List devices and what is known about each."),
    "doctor": ("fleetfront.cli.doctor:doctor", "Check what is installed; fetch weights on request."),
    "profile": ("fleetfront.cli.profile.command:profile", "Measure a space's blocks and networks, or one model file."),
    "inspect": ("fleetfront.cli.inspect:inspect", "Say what a model file holds, and who will not take it."),
    "fit": ("fleetfront.cli.fit:fit", "Learn a latency model from what was measured."),
    "predict": ("fleetfront.cli.predict:predict", "Predict latency and accuracy of given architectures."),
    "search": ("fleetfront.cli.search.command:search", "Find the best accuracy/latency trade-offs."),
    "generate": ("fleetfront.cli.generate:generate", "Name networks at once, from a trained generator."),
    "deploy": ("fleetfront.cli.deploy.command:deploy", "Write chosen networks as files, proven and measured."),
    "verify": ("fleetfront.cli.verify:verify", "Check a bundle that somebody hands over: hashes, proof, latency."),
    "export": ("fleetfront.cli.deploy.export:export", "Write your own torch network as files, proven and measured."),
    "report": ("fleetfront.cli.report:report", "Look at it all: one page of devices, errors, fronts and picks."),
    "compare": ("fleetfront.cli.compare:compare", "Compare two results, with bars for use in CI."),
    "import": ("fleetfront.cli.importing.command:import_", "Bring in measurements made by others."),
    "store": ("fleetfront.cli.store.command:store", "Say what the store of measurements holds; make it smaller."),
    "agent": ("fleetfront.cli.agent:agent", "Serve this machine's devices to another, through ssh."),
    "train": ("fleetfront.cli.train:train", "Train a small supernet on labelled images."),
}

EPILOG = """\b
The story:
  fleetfront profile --device cpu --runtime litert
  fleetfront fit
  fleetfront search --device cpu
  fleetfront deploy --knee --weights WEIGHTS

\b
Exit codes: 0 done; 1 a bar you set was missed; 2 wrong usage or input;
3 a device was lost or refused; 4 something needed is not installed;
70 an error that nobody foresaw: please report it; 130 interrupted, by Ctrl-C or a request to end (SIGTERM).
"""


class _BrokenPipe(PassedOn):
    """Carries a BrokenPipeError past click, which would end the program with exit code 1, a missed bar's."""

    def __init__(self, error: BrokenPipeError) -> None:
        self.error = error
        super().__init__(str(error))


class _Verbs(click.Group):
    """Loads a verb's module only when that verb is called."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        # Here --help and --version are printed.
        try:
            return super().make_context(*args, **extra)
        except BrokenPipeError as error:
            raise _BrokenPipe(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _BrokenPipe(error) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise unknown("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="fleetfront %(version)s")
def cli() -> None:
    """Measure networks on your devices, search for all of them at once, get files that provably work."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code."""

    def run() -> object:
        return cli.main(args=arguments, prog_name="fleetfront", standalone_mode=False, color=colour())

    try:
        return exit_code_of(run)
    except _BrokenPipe as broken:
        return _reader_gone(broken.error)


def _reader_gone(error: BrokenPipeError) -> int:
    """0 where the reader of our output went away (`| head`): nothing is wrong here, else what no one foresaw."""
    streams = [stream for stream in (sys.__stdout__, sys.__stderr__) if stream is not None]
    gone = [stream for stream in streams if _has_no_reader(stream.fileno())]
    if not gone:
        return failed_unexpectedly(error)
    for stream in gone:
        # Python would complain of what is still unwritten at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 0


def _has_no_reader(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def entry_point() -> None:
    """Run the installed ``fleetfront`` script. A request to end is heard as Ctrl-C is."""
    ours = os.getpid()

    def hear(number: int, _frame: FrameType | None) -> None:
        if os.getpid() == ours:
            signal.raise_signal(signal.SIGINT)
        else:
            # Processes that were forked end as ever.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(signal.SIGTERM, hear)
    sys.exit(main())


if __name__ == "__main__":
    entry_point()
