"""The one state dict of a checkpoint that is meant: found among what the file held, held against the network, made fp32."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from squeeze_export.errors import SourceError
from squeeze_export.sources.checkpoints import state_dicts
from squeeze_export.sources.checkpoints.arrays import Unusable
from squeeze_export.sources.checkpoints.containers import Content
from squeeze_export.sources.checkpoints.digests import canonical_sha256
from squeeze_export.sources.checkpoints.fitting import Fit, Network, fits
from squeeze_export.sources.checkpoints.lookalikes import looks_like

if TYPE_CHECKING:
    import torch

    Way: TypeAlias = tuple[state_dicts.StateDict, Fit]

_LISTED: Final = 10
_GIVE: Final = "Give a state dict with torchvision's names"
_PACKED: Final = re.compile(r"_packed_params|(^|\.)zero_point$|\.weight_fake_quant\.|\.activation_post_process\.")
# Classes that ordinary checkpoints name beside the tensors: no news to anybody.
_ORDINARY: Final = ("torch.", "numpy.", "argparse.Namespace", "pathlib.", "builtins.", "__builtin__.", "collections.", "copyreg.")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Weights that fit: fp32 CPU tensors in the network's order; notes and label claims as in weights.LoadedWeights."""

    state: dict[str, torch.Tensor]
    num_classes: int
    notes: tuple[str, ...]
    label_claims: Mapping[str, object]


def choose(
    networks: Sequence[Network], wanted: str, content: Content, where: str, *, key: str | None = None, sha256: str | None = None
) -> Chosen:
    """Take the state dict that is meant for the network `wanted`; SourceError, with what was found, where there is none.

    `networks`: those that weights are held against for advice. `key` and `sha256` as in weights.load_weights.
    """
    network = next(network for network in networks if network.name == wanted)
    described = content.metadata.get("model")
    if described != wanted and described in {network.name for network in networks}:
        # Simple bypass adds no weights: only the file's own word tells its weights from those of plain 1.0.
        raise SourceError(f"{where} says that it holds {described} weights, not {wanted}: use --model {described}")
    found = _at_key(content, key, where) if key is not None else state_dicts.state_dicts(content.saved)
    if not found:
        raise SourceError(_nothing_in(content, where))
    ways = [(item, fit) for item in found for fit in fits(network, item.tensors)]
    fitting = [way for way in ways if way[1].whole]
    if not fitting:
        raise SourceError(_misfit(networks, network, ways, where))
    # Averaged weights first, whether a key or a prefix says so; beyond that the order in which they were found.
    fitting.sort(key=lambda way: not state_dicts.is_averaged(_name(way)))
    taken = fitting[0]
    if sha256 is not None:
        taken = next((way for way in fitting if _digest(way[1], where) == sha256), taken)
    fit = taken[1]
    if fit.num_classes < network.fewest:
        raise SourceError(
            f"{where} classifies into {'1 class' if fit.num_classes else 'no classes'}: with fewer than {network.fewest} "
            "there is nothing "
            "to tell apart"
        )
    return Chosen(
        state=_to_fp32(fit.tensors, where),
        num_classes=fit.num_classes,
        notes=(*_which(fitting, taken), *fit.notes, *_of_unknown(content), *_where_it_stood(fitting, taken, key)),
        label_claims=state_dicts.label_claims(content),
    )


def _at_key(content: Content, key: str, where: str) -> list[state_dicts.StateDict]:
    found = state_dicts.at_key(content.saved, key)
    if found is not None and found.tensors:
        return [found]
    there = [item.key for item in state_dicts.state_dicts(content.saved) if item.key]
    what = "nothing" if found is None else "no tensors by name"
    raise SourceError(
        f"{where} has {what} under the key {key!r}. "
        + (f"State dicts stand under {_some(there)}" if there else "It has no keys to choose from: leave --checkpoint-key out")
    )


def _nothing_in(content: Content, where: str) -> str:
    module = state_dicts.whole_module(content.saved)
    if module is not None:
        return (
            f"{where} holds a whole pickled module ({module}), whose class would have to be executed. Where it was made, save "
            'its weights: torch.save(model.state_dict(), "weights.pth")'
        )
    return f"{where} holds no state dict (tensors by name), but {state_dicts.described(content.saved)}. Save model.state_dict()"


def _name(way: Way) -> str:
    """Where weights stand in a checkpoint: the key and the prefix, dotted, as --checkpoint-key takes it."""
    return ".".join(part for part in (way[0].key, way[1].prefix.removesuffix(".")) if part)


def _which(fitting: Sequence[Way], taken: Way) -> tuple[str, ...]:
    """Which weights were taken, where the file holds several that fit."""
    name = _name(taken)
    names = list(dict.fromkeys(_name(way) or "the top level" for way in fitting))
    others = [other for other in names if other not in (name, "the top level")]
    if len(names) < 2:
        return ()
    averaged = ", averaged over the training" if state_dicts.is_averaged(name) else ""
    how = f" --checkpoint-key {others[0]} takes the others." if others else ""
    taken_of = f"{name or 'the top level'} was taken{averaged}"
    return (f"The checkpoint holds several weights that fit ({', '.join(names)}): {taken_of}.{how}",)


def _where_it_stood(fitting: Sequence[Way], taken: Way, asked: str | None) -> tuple[str, ...]:
    """A key or a prefix that nobody asked for, where no others fit."""
    name = _name(taken)
    alone = len({_name(way) for way in fitting}) == 1
    return (f"The weights are those under {name!r} of the checkpoint.",) if alone and name and name != asked else ()


def _of_unknown(content: Content) -> tuple[str, ...]:
    foreign = [name for name in content.unknown if not name.startswith(_ORDINARY)]
    if not foreign:
        return ()
    shown = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if foreign[3:] else "")
    return (f"The checkpoint also names {shown}: read as plain data, nothing of it was executed.",)


def _misfit(networks: Sequence[Network], network: Network, ways: Sequence[Way], where: str) -> str:
    """Why none of the state dicts is the network's: another one's, a quantised, a damaged or a changed one."""
    item, fit = max(ways, key=lambda way: way[1].matched)
    names = network.shapes(2)
    wrong = f"{where} does not hold {network.name} weights"
    others = [other.name for other in networks if other is not network and any(way.whole for way in fits(other, item.tensors))]
    if others:
        return f"{wrong}: these are {' or '.join(others)} weights: use --model {others[0]}. What differs: {_differing(fit)}"
    if fit.problems and fit.matched * 2 >= len(names):
        return f"{where} cannot be taken as {network.name} weights: {_some(fit.problems, 3)}"
    quantised = next((name for name, value in item.tensors.items() if _is_quantised(name, value)), None)
    quantised = quantised or next((name for name in item.others if _PACKED.search(name)), None)
    if quantised is not None:
        return (
            f"{wrong}, but a quantised state dict (it has {quantised}). Save the float model's weights, from before the "
            "quantization: an export makes its own integers"
        )
    at = f" under {item.key}" if item.key else ""
    takes = f"squeeze-export takes {', '.join(network.name for network in networks)}, with torchvision's names"
    if network.own:
        takes = f"{network.name} has names such as {_some(list(names), 3)}"
    shapes = {name: tuple(value.shape) for name, value in item.tensors.items()}
    alike = looks_like(shapes) if fit.matched * 2 < len(names) else None
    if alike is not None and alike != looks_like(names):  # of two of a family only what differs says anything
        renamed = ". Rename its entries to torchvision's first" if alike.startswith("SqueezeNet") and not network.own else ""
        some = _some([f"{name} {shape}" for name, shape in shapes.items()], 3)
        return f"{wrong}: its names{at} look like {alike}: {some}. {takes}{renamed}"
    strangers = [f"{name} is no tensor ({kind})" for name, kind in item.others.items() if name in names]
    if fit.unexpected and not strangers and not fit.missing and not fit.reshaped:
        return (
            f"{where} holds all {len(names)} weights of {network.name}{at} and more, which the network has no place for: "
            f"{_some(fit.unexpected)}. If the trained model computes with them, it is another network. If not, save the state "
            "dict without them"
        )
    if network.own:
        return f"{wrong}{at}. {_differing(fit, strangers)}. Give the --model that these weights were trained with"
    others = [other.name for other in networks if other is not network]
    return f"{wrong}, nor any of {', '.join(others)}{at}. {_differing(fit, strangers)}. {_GIVE}"


def _differing(fit: Fit, strangers: Sequence[str] = ()) -> str:
    """What is missing, what was found instead, and what has another shape: a few of each, with their number."""
    kinds = (("missing", (*strangers, *fit.missing)), ("not the network's", fit.unexpected), ("of another shape", fit.reshaped))
    return ". ".join(f"{len(items)} {kind}: {_some(items, _LISTED // 2)}" for kind, items in kinds if items)


def _is_quantised(name: str, value: Any) -> bool:
    return (isinstance(value, Unusable) and value.kind.startswith("quantised")) or _PACKED.search(name) is not None


def _digest(fit: Fit, where: str) -> str | None:
    try:
        return canonical_sha256(_to_fp32(fit.tensors, where))
    except SourceError:
        return None


def _to_fp32(state: Mapping[str, Any], where: str) -> dict[str, torch.Tensor]:
    import torch

    floating = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
    unfit = [
        f"{name} ({value.kind if isinstance(value, Unusable) else str(value.dtype).removeprefix('torch.')})"
        for name, value in state.items()
        if isinstance(value, Unusable) or value.dtype not in floating
    ]
    if unfit:
        raise SourceError(
            f"{where} has weights that are not plain floating-point tensors: {_some(unfit)}. Save the model in float"
        )
    converted = {name: value.detach().to(torch.float32, copy=True).contiguous() for name, value in state.items()}
    broken = [
        f"{name} ({int(value.isnan().sum())} NaN, {int(value.isinf().sum())} infinite of {value.numel()})"
        for name, value in converted.items()
        if not bool(value.isfinite().all())
    ]
    if broken:
        raise SourceError(
            f"{where} has weights that are no finite fp32 numbers: {_some(broken)}. The training diverged or the file is damaged"
        )
    return converted


def _some(items: Sequence[str], most: int = _LISTED) -> str:
    shown = "; ".join(items[:most])
    return shown if len(items) <= most else f"{shown}; and {len(items) - most} more"
