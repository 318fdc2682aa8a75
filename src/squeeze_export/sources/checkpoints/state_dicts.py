"""Where in a checkpoint its state dicts stand, and what it says of its classes. Knows no network."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from squeeze_export.sources.checkpoints.arrays import NumpyArray, Unusable, tensor_from_array, tensor_type
from squeeze_export.sources.checkpoints.containers import Content
from squeeze_export.sources.checkpoints.pickles import Inert

# The usual keys, the preferred first.
_WRAPPERS: Final = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "net_state_dict", "network", "weights", "params"),
    *("module", "generator_state_dict", "backbone"),
)
# Averaged weights (EMA) come before others: timm loads those as well, because training scripts measure and publish them.
_AVERAGED: Final = re.compile(r"(^|[._])(ema|averaged|avg|swa)($|[._])|(^|[._])params_ema", re.IGNORECASE)
# What training keeps beside the weights and is none, though it may hold tensors by name.
_NO_WEIGHTS: Final = re.compile(r"optim|scheduler|scaler|rng|sampler|callback|loops|dataloader|history", re.IGNORECASE)
_DEEPEST: Final = 4
_MOST_FOUND: Final = 64

_CLAIMS: Final = (*("class_to_idx", "idx_to_class", "classes", "class_names", "categories", "id2label", "label2id", "names"),)
_CLAIMED_IN: Final = ("args", "hyper_parameters", "hparams", "meta", "dataset_meta", "config", "cfg", "model_args", "opt")
_MOST_CLASSES: Final = 100_000


@dataclass(frozen=True, kw_only=True)
class StateDict:
    """Tensors by name as they stood at `key` (dotted; empty: the file's own). `others`: further entries, with their types."""

    key: str
    tensors: Mapping[str, Any]
    others: Mapping[str, str]


def is_averaged(name: str) -> bool:
    """Whether a key or a prefix says that what it holds are averages over the training."""
    return _AVERAGED.search(name) is not None


def state_dicts(saved: object) -> list[StateDict]:
    """Every state dict in what was saved: those under the usual keys, the file's own, then others in their order."""
    found = list(itertools.islice(_walk(saved, "", 0, set()), _MOST_FOUND))
    places = {key: place for place, key in enumerate(_WRAPPERS)}

    def rank(item: StateDict) -> int:
        if not item.key:
            return len(places)  # a wrapper's own tensors, such as best_acc1, are looked at last of the known
        return min((places[part] for part in item.key.split(".") if part in places), default=len(places) + 1)

    return sorted(found, key=rank)  # stable: the rest stays in the file's order


def at_key(saved: object, key: str) -> StateDict | None:
    """What stands at a dotted key: a mapping, or the names that begin so with that prefix taken off; None if nothing does."""
    place = _mapping(saved)
    rest, before = key, ""
    while place is not None:
        if rest in place:
            inner = _mapping(place[rest])
            return None if inner is None else _as_state(inner, key)
        step = next((str(name) for name in place if isinstance(name, str) and rest.startswith(f"{name}.")), None)
        inner = None if step is None else _mapping(place[step])
        if step is None or inner is None:
            begun = {name: value for name, value in place.items() if isinstance(name, str) and name.startswith(f"{rest}.")}
            if not begun:
                return None
            return _as_state({name.removeprefix(f"{rest}."): value for name, value in begun.items()}, f"{before}{rest}")
        place, rest, before = inner, rest[len(step) + 1 :], f"{before}{step}."
    return None


def whole_module(saved: object) -> str | None:
    """The class of a module that was pickled whole, at the top or under a key; None where there is none."""
    inner = saved.values() if isinstance(saved, Mapping) else ()
    for value in (saved, *inner):
        if isinstance(value, Inert) and {"_parameters", "_modules"} <= set(map(str, value.mapping())):
            return value.name
    return None


def label_claims(content: Content) -> dict[str, object]:
    """What the checkpoint says of its classes, by the key it stood under; lists, dicts, strings and numbers only."""
    claims: dict[str, object] = {}
    top = _mapping(content.saved) or {}
    places = [top, *(inner for key in _CLAIMED_IN if (inner := _mapping(top.get(key))) is not None)]
    metadata = {key: _from_json(value) for key, value in content.metadata.items()}
    places += [metadata, *(inner for key in _CLAIMED_IN if (inner := _mapping(metadata.get(key))) is not None)]
    for place in places:
        lower = {key.lower(): value for key, value in place.items() if isinstance(key, str)}
        for key in _CLAIMS:
            value = _plain(lower.get(key))
            if value and key not in claims and not isinstance(value, int | bool):
                claims[key] = value
    return claims


def described(saved: object) -> str:
    """What was found instead of a state dict, in a few words."""
    place = _mapping(saved)
    if place is None:
        return f"a {_kind(saved)}"
    keys = []
    for key, value in place.items():
        inner = _mapping(value)
        within = (
            "" if inner is None else f" with {', '.join(f'{name!r} ({_kind(held)})' for name, held in list(inner.items())[:3])}"
        )
        keys.append(f"{key!r} ({_kind(value)}{within if inner else ', empty' if inner is not None else ''})")
    if not keys:
        return "an empty mapping"
    return f"a mapping with {', '.join(keys[:10])}{f' and {len(keys) - 10} more' if keys[10:] else ''}"


def _walk(saved: object, key: str, depth: int, seen: set[int]) -> Iterator[StateDict]:
    place = _mapping(saved)
    if place is None or depth > _DEEPEST or id(saved) in seen:
        return
    seen.add(id(saved))  # what stands under two keys is looked at once: a forged file may hold endless ways to the same
    found = _as_state(place, key)
    if found.tensors:
        yield found
    for name, value in place.items():
        if isinstance(name, str) and not _NO_WEIGHTS.search(name):
            yield from _walk(value, f"{key}.{name}" if key else name, depth + 1, seen)


def _as_state(place: Mapping[Any, Any], key: str) -> StateDict:
    tensors: dict[str, Any] = {}
    others: dict[str, str] = {}
    for name, value in place.items():
        number = tensor_from_array(value)
        if isinstance(name, str) and isinstance(number, (tensor_type(), Unusable)):
            tensors[name] = number
        elif _mapping(value) is None:
            others[str(name)] = _kind(value)
    return StateDict(key=key, tensors=tensors, others=others)


def _mapping(value: object) -> Mapping[Any, Any] | None:
    """A dict, or what an object of an unknown class holds by name; None for anything else, and for whole modules."""
    if isinstance(value, Inert):
        found = value.mapping()
        return found if found and "_parameters" not in found else None
    return value if isinstance(value, Mapping) else None


def _kind(value: object) -> str:
    return value.name if isinstance(value, Inert) else type(value).__name__


def _from_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _plain(value: object) -> object:
    """A list or a mapping of plain values, as Python's own types; None where it is something else, or endless."""
    if isinstance(value, NumpyArray):
        value = value.listed()
    if isinstance(value, Inert):
        value = value.items or value.mapping()
    if isinstance(value, str):
        return _scalar(value)
    if isinstance(value, list | tuple) and len(value) <= _MOST_CLASSES:
        items = [_scalar(item) for item in value]
        return items if all(item is not None for item in items) else None
    if isinstance(value, Mapping) and len(value) <= _MOST_CLASSES:
        entries = {_scalar(key): _entry(item) for key, item in value.items()}
        return entries if all(None not in pair for pair in entries.items()) else None
    return None


def _entry(value: object) -> object:
    """A class's own value: a name or a number, or a few of them, such as a synset with its name."""
    if isinstance(value, list | tuple) and 0 < len(value) <= 8 and all(_scalar(item) is not None for item in value):
        return [_scalar(item) for item in value]
    return _scalar(value)


def _scalar(value: object) -> object:
    if isinstance(value, Inert):
        return None
    if isinstance(value, tensor_type()) and value.numel() == 1:  # type: ignore[attr-defined]
        return value.item()  # type: ignore[attr-defined]
    if isinstance(value, str):
        return None if re.search("[\ud800-\udfff]", value) else value  # halves of characters, which nothing could write
    return value if isinstance(value, int) else None
