"""Hold the documentation against the program: commands that it shows parse, pages and public names are in the site."""

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from fleetfront.cli.main import cli
from fleetfront.errors import InputError

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "SKILL.md", *sorted(DOCS.rglob("*.md"))]

#: A whole line of a block, or a whole piece of code in a sentence.
_LINE = re.compile(r"^(?:\.venv/bin/)?(fleetfront [a-z].*)$", re.MULTILINE)
_INLINE = re.compile(r"`(fleetfront [a-z][^`\n]*)`")


def commands_of(page: Path) -> list[str]:
    text = page.read_text()
    blocks = "\n".join(re.findall(r"^```(?:sh)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [*_LINE.findall(blocks.replace("\\\n", " ")), *_INLINE.findall(rest)]
    return [command.strip() for line in lines for command in line.split(" && ")]


def parse(command: str) -> None:
    """Raise where a verb or an option of ``command`` is none."""
    words = [word for word in shlex.split(command, comments=True)[1:] if word != "..."]
    found: click.Command = cli
    context = click.Context(cli, info_name="fleetfront")
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        _, found, words = found.resolve_command(context, words)
        assert found is not None
        context = click.Context(found, parent=context, info_name=found.name)
    found.make_parser(context).parse_args(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_parses(page: Path) -> None:
    wrong = {}
    for command in commands_of(page):
        try:
            parse(command)
        except (click.UsageError, InputError) as error:
            wrong[command] = str(error)
    assert not wrong


def test_pages_show_commands_and_wrong_ones_are_found() -> None:
    assert sum(len(commands_of(page)) for page in PAGES) > 60
    for wrong in (
        "fleetfront profil --device cpu",
        "fleetfront profile --devise cpu",
        "fleetfront import tables x.csv",
    ):
        with pytest.raises((click.UsageError, InputError)):
            parse(wrong)


def test_the_site_leads_to_every_page() -> None:
    def files(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        assert isinstance(entry, list | dict)
        return [name for part in (entry.values() if isinstance(entry, dict) else entry) for name in files(part)]

    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert sorted(files(nav)) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_the_reference_has_every_public_name() -> None:
    public = re.findall(
        r"^from (\S+) import (\w+) as \2$", (ROOT / "fleetfront/__init__.pyi").read_text(), re.MULTILINE
    )
    shown = re.findall(r"^::: (\S+)$", (DOCS / "reference.md").read_text(), re.MULTILINE)
    assert public
    assert sorted(shown) == sorted(f"{module}.{name}" for module, name in public)
