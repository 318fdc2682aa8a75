"""What a network gives for its classes, found on images; made logits, with what turns these into probabilities.

A softmax or sigmoid that ends the network is taken off, so that exporters put theirs there and none is applied twice. Where
the probabilities are made in another way, their logarithm or log-odds are the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.contracts.heads import Activation, AskedActivation, ModelGives
from squeeze_export.errors import SourceError
from squeeze_export.sources.networks import capture

if TYPE_CHECKING:
    import torch

    from squeeze_export.sources.networks.capture import Captured

_SLACK: Final = 1e-4  # of a sum of fp32 probabilities; logits do not come this near by chance on every image
_SAME: Final = 1e-5  # what taking an activation off and computing it again may change in a probability
_SMALLEST: Final = 2.0**-24  # the smallest probability that has a logit: that of fp16, which knows no smaller number


@dataclass(frozen=True, kw_only=True)
class Head:
    """A program that gives logits, the activation that makes probabilities of them, and what the network itself `gives`.

    `undo`: from these logits (1, n) back to what the network gives, for comparison. `notes`: what was decided, a sentence each.
    """

    captured: Captured
    activation: Activation
    gives: ModelGives
    undo: Callable[[torch.Tensor], torch.Tensor]
    notes: tuple[str, ...] = ()


def settle(
    captured: Captured, images: torch.Tensor, *, gives: ModelGives | None, activation: AskedActivation | None, what: str
) -> Head:
    """Find what the network gives for normalised images (N, C, H, W), and make it logits.

    `gives` and `activation`: what the user says of it. SourceError where the scores are not what he says.
    """
    rows = captured.answers(images).double()
    last = _last(captured.module())[1]
    asked = None if activation == "none" else activation
    notes: tuple[str, ...] = ()
    if gives is None:
        found, ending = _seen(rows, last)
        notes = _told(found, ending, rows, what)
    else:
        found, ending = gives, _said(gives, rows, last, asked, what)
    if rows.shape[1] == 1 and (asked == "softmax" or last in ("softmax", "log_softmax")):
        raise SourceError(
            f"{what} gives one score per image, and the softmax of one number is always 1: with a sigmoid it is a probability. "
            "Leave --activation out, or give the network a score for each class"
        )
    if ending is None:
        chosen: Activation = asked or ("sigmoid" if rows.shape[1] == 1 else "softmax")
        if rows.shape[1] == 1 and asked is None:
            notes += (
                f"{what} gives one score per image: a sigmoid makes it a probability. --labels with two names makes two classes "
                "of it, no and yes in this order.",
            )
        return Head(captured=captured, activation=chosen, gives="logits", undo=_as_it_is, notes=notes)
    if asked is not None and asked != ending:
        raise SourceError(
            f"{what} gives {found} of a {ending} already, and --activation is {asked}. Leave it out; or, if these are logits, "
            "pass --model-gives logits"
        )
    undo = _undo(found, ending)
    taken = _without_last(captured, found, ending)
    if taken is None or not _same(undo(taken.answers(images)), rows, found):
        taken = _inverted(captured, found, ending)
        if taken is not captured:
            notes += (
                f"{what} does not end in a {ending} of PyTorch's: its logits are computed back, and probabilities below "
                f"{_SMALLEST:.0e} count as that.",
            )
    return Head(captured=taken, activation=ending, gives=found, undo=undo, notes=notes)


def as_two_classes(head: Head) -> Head:
    """One logit z as the two classes (0, z), no and yes: their softmax is 1 - sigmoid(z) and sigmoid(z)."""
    import torch

    def build(graph: Any, scores: Any) -> Any:
        zero = graph.call_function(torch.ops.aten.full.default, ([1, 1], 0.0))
        return graph.call_function(torch.ops.aten.cat.default, ([zero, scores], 1))

    undo = head.undo
    return replace(head, captured=_behind(head.captured, build), activation="softmax", undo=lambda rows: undo(rows[:, 1:]))


def reference(module: torch.nn.Module, head: Head) -> torch.nn.Module:
    """The eager network as one that gives logits: those of the program, which must be what the network's own scores come from.

    Its forward raises SourceError where they are not, on any image.
    """
    import torch

    class Reference(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.program = module, head.captured.module()

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.program(image)
            if not _same(head.undo(logits), self.network(image).double(), head.gives):
                raise SourceError(
                    f"the network's {head.gives} do not follow from the logits in front of its {head.activation} on this image: "
                    "something behind it changes them. Pass --model-gives logits to take them as they are"
                )
            return logits

    return Reference().eval()


def _as_it_is(rows: torch.Tensor) -> torch.Tensor:
    return rows


def _undo(gives: ModelGives, activation: Activation) -> Callable[[torch.Tensor], torch.Tensor]:
    import torch

    if gives == "probabilities":
        return torch.sigmoid if activation == "sigmoid" else lambda rows: rows.softmax(1)
    return torch.nn.functional.logsigmoid if activation == "sigmoid" else lambda rows: rows.log_softmax(1)


def _same(found: torch.Tensor, expected: torch.Tensor, gives: ModelGives) -> bool:
    """Whether two computations of scores agree: probabilities as they are, others by how large they are."""
    allowed = _SAME if gives == "probabilities" else _SAME * max(1.0, float(expected.abs().max()))
    return bool(((found.double() - expected.double()).abs() <= allowed).all())


def _seen(rows: torch.Tensor, last: str | None) -> tuple[ModelGives, Activation | None]:
    """What the scores say of themselves; within 0..1 alone may be anything, so that the last operation must be a sigmoid."""
    if _sum_to_one(rows):
        return "probabilities", "softmax"
    if rows.shape[1] > 1 and bool((rows <= 0).all()) and _sum_to_one(rows.exp()):
        return "log-probabilities", "softmax"
    if last == "sigmoid":
        return "probabilities", "sigmoid"
    if last == "log_sigmoid":
        return "log-probabilities", "sigmoid"
    return "logits", None


def _said(gives: ModelGives, rows: torch.Tensor, last: str | None, asked: Activation | None, what: str) -> Activation | None:
    """The activation behind what the user says that the network gives."""
    if gives == "logits":
        return None
    chances = rows if gives == "probabilities" else rows.exp()
    if not bool(((chances >= 0) & (chances <= 1 + _SLACK)).all()):
        raise SourceError(
            f"--model-gives {gives}: {what} gives {rows.min():.3g} to {rows.max():.3g}, which are none. Leave the option out"
        )
    ending: Activation = "sigmoid" if last in ("sigmoid", "log_sigmoid") or not _sum_to_one(chances) else "softmax"
    if asked == "softmax" and ending == "sigmoid":
        sums = chances.sum(1)
        raise SourceError(
            f"--model-gives {gives} with --activation softmax: those of {what} sum to {sums.min():.3g} to {sums.max():.3g} per "
            "image, not to one. Independent ones are of --activation sigmoid"
        )
    return asked or ending


def _sum_to_one(rows: torch.Tensor) -> bool:
    return rows.shape[1] > 1 and bool((rows >= 0).all() and ((rows.sum(1) - 1).abs() <= _SLACK).all())


def _told(gives: ModelGives, ending: Activation | None, rows: torch.Tensor, what: str) -> tuple[str, ...]:
    if ending is not None:
        how = {
            ("probabilities", "softmax"): "its scores of each image sum to one",
            ("log-probabilities", "softmax"): "the exponentials of its scores sum to one",
            ("probabilities", "sigmoid"): "its scores are within 0..1 and come from a sigmoid",
            ("log-probabilities", "sigmoid"): "its scores are logarithms of a sigmoid",
        }[gives, ending]
        return (f"{what} gives {gives} already ({how}): no second {ending} is applied. --model-gives logits would apply one.",)
    if bool(((rows >= 0) & (rows <= 1)).all()):
        return (
            f"all scores of {what} are within 0..1, and no sigmoid or softmax ends it: they were taken for logits. If they are "
            "probabilities, pass --model-gives probabilities.",
        )
    return ()


def _last(module: Any) -> tuple[Any, str | None]:
    """The node that ends a graph, shapes aside, and its kind, if it is an activation."""
    import torch

    aten = torch.ops.aten
    kinds = {
        aten.softmax.int: "softmax",
        aten._softmax.default: "softmax",
        aten.log_softmax.int: "log_softmax",
        aten._log_softmax.default: "log_softmax",
        aten.sigmoid.default: "sigmoid",
        aten.log_sigmoid.default: "log_sigmoid",
    }
    looks = (
        *(aten.view.default, aten.reshape.default, aten.flatten.using_ints, aten.squeeze.default, aten.squeeze.dim),
        *(aten.squeeze.dims, aten.unsqueeze.default, aten.contiguous.default, aten.clone.default, aten.alias.default),
    )
    (end,) = [node for node in module.graph.nodes if node.op == "output"]
    node = end.args[0]
    while node.op == "call_function" and node.target in looks:
        node = node.args[0]
    return node, kinds.get(node.target) if node.op == "call_function" else None


_ENDS: Final = {
    "softmax": ("probabilities", "softmax"),
    "log_softmax": ("log-probabilities", "softmax"),
    "sigmoid": ("probabilities", "sigmoid"),
    "log_sigmoid": ("log-probabilities", "sigmoid"),
}


def _without_last(captured: Captured, gives: ModelGives, activation: Activation) -> Captured | None:
    """The program without the activation that ends it; None where another one does, or its result is used elsewhere as well."""
    module = captured.module()
    node, kind = _last(module)
    if kind is None or _ENDS[kind] != (gives, activation) or len(node.users) != 1:
        return None
    node.replace_all_uses_with(node.args[0])
    module.graph.erase_node(node)
    return capture.again(captured, module)


def _inverted(captured: Captured, gives: ModelGives, activation: Activation) -> Captured:
    """The program with logits computed back from its scores. Log-probabilities that sum to one are logits as they are."""
    import torch

    aten = torch.ops.aten
    if gives == "log-probabilities" and activation == "softmax":
        return captured

    def build(graph: Any, scores: Any) -> Any:
        def log(value: Any) -> Any:
            return graph.call_function(aten.log.default, (graph.call_function(aten.clamp_min.default, (value, _SMALLEST)),))

        chances = scores if gives == "probabilities" else graph.call_function(aten.exp.default, (scores,))
        if activation == "softmax":
            return log(chances)
        rest = graph.call_function(aten.rsub.Scalar, (chances, 1.0))
        return graph.call_function(aten.sub.Tensor, (log(chances), log(rest)))

    return _behind(captured, build)


def _behind(captured: Captured, build: Callable[[Any, Any], Any]) -> Captured:
    """The program with more operations behind its result."""
    module = captured.module()
    (end,) = [node for node in module.graph.nodes if node.op == "output"]
    with module.graph.inserting_before(end):
        end.args = (build(module.graph, end.args[0]),)
    return capture.again(captured, module)
