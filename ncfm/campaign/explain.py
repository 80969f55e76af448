"""What there is to run, and where a value comes from: campaigns, methods, and any key of the params. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from ncfm.campaign import campaign as campaigns
from ncfm.campaign.campaign import PARAMS, Campaign
from ncfm.campaign.layers import Layers
from ncfm.core.errors import ParamsError, one_of
from ncfm.core.layout import RELEASED, title
from ncfm.core.params import StageParams
from ncfm.datasets.catalogue import counted, some
from ncfm.method.discrepancies import DISCREPANCIES
from ncfm.stages.cells import Cell
from ncfm.stages.table import STAGES, TESTERS

DEFAULT = "its default"
SHOWN = 12  # names of cells listed for a value, at most


def campaigns_text(active: str | None) -> str:
    """Return a line for each campaign in `params/`: its name, marked where it is the active one, and its title."""
    names = campaigns.available()
    width = max(map(len, names), default=0)
    titles = {name: _title_or_fault(name) for name in names}
    return "".join(f"{'*' if name == active else ' '} {name:{width}}  {titles[name]}\n" for name in names)


def _title_or_fault(name: str) -> str:
    try:
        return Layers(PARAMS / f"{name}.yaml").campaign.title or name
    except ParamsError as error:
        return f"cannot be read: {error}"


def methods_text() -> str:
    """Return a line for each method of `params/base.yaml`: its name, its stage, and its name in the tables."""
    layers = Layers(PARAMS / "base.yaml")
    width = max(map(len, layers.known))
    lines = (f"{name:{width}}  {layers.stage(name):8} {layers.field('label', [name])}\n" for name in layers.known)
    return "".join(lines)


def explain_text(campaign: Campaign, key: str) -> str:
    """Return what is known of a params key, ``STAGE.NAME``, and each of its values in a campaign, with its place.

    ``NAME`` alone will do where one stage has it. Raises :class:`ParamsError` for an unknown key.
    """
    stages = [one for one, known in STAGES.items() if known.params.stage == one]
    having = [f"{one}.{key}" for one in stages if key in STAGES[one].params.model_fields]
    if len(having) > 1:
        raise ParamsError(f"ncfm explain {key}: of which stage? (allowed: {', '.join(having)})")
    key = having[0] if having else key
    stage, dot, name = key.partition(".")
    if not dot and stage not in stages:
        keys = dict.fromkeys(field for one in stages for field in STAGES[one].params.model_fields)
        raise ParamsError(one_of("key of a stage's params", key, keys, "ncfm explain"))
    if stage not in stages:
        raise ParamsError(one_of("stage", stage, stages, f"ncfm explain {key}"))
    fields = STAGES[stage].params.model_fields
    if not name:
        raise ParamsError(f"ncfm explain {key}: which of its keys? (allowed: {', '.join(fields)})")
    if name not in fields:
        raise ParamsError(one_of("key", name, fields, f"ncfm explain {key}"))
    field = fields[name]
    text = [f"{key}: {kind_text(field)}, default {shown(field.get_default(call_default_factory=True))}"]
    text += [f"  {field.description}"] if field.description else []
    found: dict[tuple[str, str], list[Cell]] = {}
    layers = Layers(PARAMS / "base.yaml", PARAMS / f"{campaign.name}.yaml")
    for cell, value, place in _values(campaign, layers, stage, name):
        found.setdefault((shown(value), place), []).append(cell)
    for (value, place), cells in found.items():
        text.append(f"{value}  from {place}, in {counted(len(cells), 'cell')}:")
        groups = Counter(map(_group, cells))
        text.append(
            f"  {some((f'{one} ({seeds} seeds)' if seeds > 1 else one for one, seeds in groups.items()), SHOWN)}"
        )
    return "\n".join(text if found else [*text, f"no cell of {campaign.name} reads it"]) + "\n"


def notes_on(campaign: Campaign) -> list[str]:
    """Return a line for each value of the campaign's file that does less than its place says, or nothing at all."""
    layers = Layers(PARAMS / "base.yaml", PARAMS / f"{campaign.name}.yaml")
    methods = {cell.names["method"] for cell in campaign.cells_of("anytime")}
    sets = [cell for cell in campaign.cells_of("distill") if cell.names["method"] in methods]
    empty = bool(methods) and not any(campaign.params[cell].snapshots for cell in sets)  # type: ignore[attr-defined]
    curves = [f"{layers.path}: anytime: none of its methods keeps snapshots (distill: {{snapshots: [...]}})"]
    return [*_overridden(campaign, layers), *_unread(campaign, layers), *(curves if empty else [])]


def _unread(campaign: Campaign, layers: Layers) -> Iterator[str]:
    """Yield a line for each value that no cell reads, because of another value."""
    read = sorted({name for one in DISCREPANCIES.values() for name in one.reads})
    of_some = [
        (name, ("discrepancy", [one for one, its in DISCREPANCIES.items() if name not in its.reads])) for name in read
    ]
    for stage, known in STAGES.items():
        for name, (other, idle) in [*known.params.unread_with.items(), *(of_some if stage == "distill" else [])]:
            found: dict[str, set[Any]] = {}
            for cell, _, place in _values(campaign, layers, stage, name):
                found.setdefault(place, set()).add(getattr(campaign.params[cell], other))
            for place, values in found.items():
                if place.startswith(f"{layers.path}: ") and values <= {*idle}:
                    yield f"{place} is never read, because of {other}: {some(sorted(values), len(values))}"


def _overridden(campaign: Campaign, layers: Layers) -> list[str]:
    """Return a line for each value that the campaign's file gives to a whole stage, but that some cells do not get.

    A stage without cells has one line.
    """
    lines = []
    for stage in STAGES:
        section = getattr(layers.campaign, stage, None)
        if not isinstance(section, StageParams):
            continue
        if not campaign.cells_of(stage):
            lines.append(f"{layers.path}: {stage} reaches no cell")
        for name in section.model_fields_set:
            own, places = f"{layers.path}: {stage}.{name}", dict[tuple[str, str], dict[str, None]]()
            for cell, value, place in _values(campaign, layers, stage, name):
                if place != own:
                    places.setdefault((shown(value), place), {})[_group(cell)] = None
            for (value, at), reached in places.items():
                more = f" and {len(reached) - 1} more" if len(reached) > 1 else ""
                lines.append(f"{own} does not reach {next(iter(reached))}{more}: {value} from {at}")
    return lines


def _values(campaign: Campaign, layers: Layers, stage: str, name: str) -> Iterator[tuple[Cell, Any, str]]:
    """Yield each cell of a stage, the value that it has of a key, and the place where that stands."""
    for cell in campaign.cells_of(stage):
        own: dict[str, Any] = {key: cell.names[key] for key in ("dataset", "ipc", "method") if key in cell.names}
        # A test of sets is told what `evaluate` is; its own names stand in its section.
        section = stage if stage not in TESTERS else "evaluate"
        protocol = str(cell.names.get("protocol", RELEASED)) if stage in TESTERS else ""
        given = layers.given(section, **own, protocol=protocol)
        yield cell, getattr(campaign.params[cell], name), given[name][1] if name in given else DEFAULT


def _group(cell: Cell) -> str:
    """Return the names that cells of one params file have in common."""
    return title({**cell.names, "seed": None}) or cell.stage


def kind_text(field: FieldInfo) -> str:
    """Return what values a field takes: its choices, or its type with its bounds."""
    choices = getattr(field.annotation, "__args__", ())
    if getattr(field.annotation, "__name__", "") == "Literal":
        return " or ".join(map(str, choices))
    named = getattr(field.annotation, "__name__", str(field.annotation))
    bounds = [f"{word} {value:,.10g}" for one in field.metadata for word, value in _bounds(one)]
    return " ".join([{"str": "text", "bool": "true or false", "tuple": "list"}.get(named, named), *bounds])


def _bounds(constraint: object) -> list[tuple[str, object]]:
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    return [(word, getattr(constraint, name)) for name, word in words.items() if hasattr(constraint, name)]


def shown(value: object) -> str:
    """Return a value as it stands in a params file."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.4g}" if isinstance(value, float) else str(value) or "''"
