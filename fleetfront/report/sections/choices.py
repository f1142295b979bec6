"""Show which choices each front uses, as bars, and what other choices would cost and gain there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fleetfront.quantities import UNKNOWN, Metric, Quality, format_number
from fleetfront.report.figures.specifications import Figure, figure_spec, nominal, quantitative, slug, tooltip
from fleetfront.report.figures.theme import series_colour, variable
from fleetfront.report.markdown import folded
from fleetfront.report.section import Section, Words
from fleetfront.report.sources import Sources, front_key
from fleetfront.report.tables import Table, percent, signed
from fleetfront.search.results import ChoiceEffect

#: Fronts that are shown, those named first; fronts.json has all.
MOST_FRONTS = 30
#: Pixels of a gene's bar, and characters of a value that a whole bar has place for on a phone.
_BAR, _CHARACTERS = 20, 40
#: Pixels of the figure of differences.
_HEIGHT = 300
#: Genes in the shortened table.
_BRIEF = 12


@dataclass(frozen=True, slots=True)
class ChoiceView:
    """The choices of one front. ``tier`` is that of its costs."""

    label: str
    tier: str
    metric: Metric
    quality: Quality
    networks: int
    choices: tuple[ChoiceEffect, ...]


def choice_views(sources: Sources) -> tuple[ChoiceView, ...]:
    """The fronts whose files say what they chose, one a target."""
    found: dict[tuple[str, str, str], ChoiceView] = {}
    for result in sources.results:
        for front in result.fronts.devices:
            key = (result.fronts.space, front_key(front), front.metric.name)
            if front.choices and key not in found and len(found) < MOST_FRONTS:
                label = sources.label(front.name, front.target)
                found[key] = ChoiceView(
                    label, front.tier, front.metric, front.quality, len(front.points), front.choices
                )
    return tuple(found.values())


def choice_figures(view: ChoiceView) -> Iterator[Figure]:
    """Bars of shares, a gene each, and differences in cost against those in accuracy."""
    yield _bars(view)
    known = [one for one in view.choices if one.latency_ms is not None and one.accuracy is not None]
    if known:
        yield _differences(view, known)


def choice_table(view: ChoiceView) -> Table:
    """Every value with its share and its differences."""
    rows = tuple(
        (
            one.gene,
            one.value,
            percent(one.share),
            _ms(one),
            _accuracy(one),
            str(one.networks),
        )
        for one in view.choices
    )
    headers = ("gene", "value", "share", view.metric.unit, view.quality.title, "networks")
    caption = f"What the front of {view.label} chose, and the mean difference where another of its networks takes it."
    return Table(caption, headers, rows, frozenset({2, 3, 4, 5}))


def _ms(one: ChoiceEffect) -> str:
    return UNKNOWN if one.latency_ms is None else f"{one.latency_ms:+.3g}"


def _accuracy(one: ChoiceEffect) -> str:
    return signed(one.accuracy, 2) + (f" ±{format_number(one.accuracy_std, 2)}" if one.accuracy_std else "")


def _bars(view: ChoiceView) -> Figure:
    values: list[dict[str, Any]] = []
    for gene, of_gene in groupby(view.choices, lambda one: one.gene):
        start = 0.0
        for place, one in enumerate(of_gene):
            end = start + one.share
            values.append(
                {
                    "gene": gene,
                    "value": one.value,
                    "start": start,
                    "end": end,
                    "middle": (start + end) / 2,
                    "share": percent(one.share),
                    "text": one.value if len(one.value) + 1 <= one.share * _CHARACTERS else "",
                    "place": place,
                }
            )
            start = end
    values = [row for row in values if row["end"] > row["start"]]
    genes = dict.fromkeys(row["gene"] for row in values)
    said = (
        f"The share of the {view.networks} networks on the front of {view.label} that have each value of each gene. "
        "What is left of a bar are networks in which the gene changes nothing."
    )
    places = sorted({row["place"] for row in values})
    x = quantitative("start", "share of the front's networks", nice=False)
    x["scale"] |= {"domain": [0, 1]}
    x["axis"] |= {"format": "%"}
    y = nominal("gene", None, sort=None, axis={"labelLimit": 120})
    shown = tooltip(gene="gene", value="value", share="share")
    scale = {"domain": places, "range": [series_colour(place) for place in places]}
    layers = [
        {
            "mark": {"type": "bar", "opacity": 0.45, "stroke": variable("surface")},
            "encoding": {
                "x": x,
                "x2": {"field": "end"},
                "y": y,
                "color": nominal("place", None, scale=scale, legend=False),
                "tooltip": shown,
            },
        },
        {
            "mark": {"type": "text", "color": variable("ink")},
            "encoding": {
                "x": {"field": "middle", "type": "quantitative"},
                "y": y,
                "text": {"field": "text"},
                "tooltip": shown,
            },
        },
    ]
    spec = figure_spec(said, layers, values=values, height=_BAR * len(genes))
    return Figure(f"choices-{slug(view.label)}", f"Choices of the front of {view.label}", said, spec, 320)


def _differences(view: ChoiceView, known: Sequence[ChoiceEffect]) -> Figure:
    values = [
        {
            "choice": f"{one.gene} = {one.value}",
            "cost": one.latency_ms,
            "accuracy": one.accuracy,
            "low": one.accuracy - 1.645 * (one.accuracy_std or 0.0),
            "high": one.accuracy + 1.645 * (one.accuracy_std or 0.0),
            "share": percent(one.share),
        }
        for one in known
        if one.accuracy is not None
    ]
    unit, quality = view.metric.unit, view.quality
    said = (
        f"What each choice costs in {quality.name} and saves in {unit} on {view.label}, mean over the front's networks "
        "that have another one, with the 90 % interval. Left is faster, and "
        f"{'up' if quality.is_higher_better else 'down'} is better."
    )
    shown = tooltip(choice="choice", cost=f"{unit} more", accuracy=f"{quality.title} more", share="share of the front")
    x = quantitative("cost", f"{unit} more")
    y = quantitative("accuracy", f"{quality.title} more")
    ends = {"x": x, "y": quantitative("low", f"{quality.title} more"), "y2": {"field": "high"}}
    layers = [
        {"mark": {"type": "rule", "color": variable("muted"), "opacity": 0.6}, "encoding": ends},
        {
            "mark": {"type": "point", "filled": True, "size": 60, "color": series_colour(0)},
            "encoding": {"x": x, "y": y, "tooltip": shown},
        },
    ]
    spec = figure_spec(said, layers, values=values, height=_HEIGHT)
    return Figure(f"sensitivity-{slug(view.label)}", f"What choices change on {view.label}", said, spec, 320)


def bargains(view: ChoiceView) -> list[ChoiceEffect]:
    """Choices that save time on this device, those first that cost least accuracy for it."""
    found = [
        (one.accuracy / one.latency_ms, one)
        for one in view.choices
        if one.latency_ms is not None and one.latency_ms < 0 and one.accuracy is not None
    ]
    sign = 1 if view.quality.is_higher_better else -1
    return [one for _, one in sorted(found, key=lambda pair: sign * pair[0])]


def _brief(views: Sequence[ChoiceView]) -> Iterator[str]:
    for view in views:
        table = choice_table(view)
        rows = {(one.gene, one.value) for one in bargains(view)[:_BRIEF]}
        kept = tuple(row for row in table.rows if (row[0], row[1]) in rows)
        caption = f"{view.label}: the choices that save most for the accuracy they cost."
        yield from folded(Table(caption, table.headers, kept, table.numeric))


def _words(view: ChoiceView) -> Words:
    first = bargains(view)[:1]
    small = (
        "Costs are the device's model's. Accuracies are those that the search evaluated and, for networks that it did "
        "not, a model of these: measure before you rely on one. A dash stands where nobody can tell."
    )
    text = ""
    for one in first:
        text = (
            f"Cheapest to save by: {one.gene} = {one.value} where a network has another value, "
            f"{_ms(one)} {view.metric.unit} and {signed(one.accuracy, 2)} {view.quality.title}."
        )
    return Words(view.label, f"{view.networks} networks, {view.tier}", text, small)


CHOICES = Section(
    "choices",
    "choices",
    "What the fronts chose, and what other choices would change",
    "Choices",
    choice_views,
    gap="No front here says what it chose; searches of this version keep that.",
    command="fleetfront search --devices all",
    figures=choice_figures,
    tables=lambda view: (choice_table(view),),
    brief=_brief,
    words=_words,
    are_views_folded=True,
)
