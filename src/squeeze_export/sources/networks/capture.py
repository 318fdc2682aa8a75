"""A network captured as one program by torch.export, without the code that it was written in; proven against the eager module.

The program is of one image: a batch of 1, its size fixed. Answers for several are computed one at a time, as on a phone.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from squeeze_export.errors import SourceError
from squeeze_export.sources.networks import faults, outputs
from squeeze_export.sources.networks.programs import affine, folding, graphs, products, rewriting, scales, tracing

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram
    from torch.fx import GraphModule

How = Literal["exported", "traced"]

FLOOR_DB: Final = 80.0  # a capture repeats the eager operations: most are equal to the bit, and folding costs some rounding
_SAMPLES: Final = 3
# What torch.export and torch.jit.trace say of values that decide what is computed.
_DATA_DEPENDENT: Final = ("GuardOnDataDependentSymNode", "data-dependent", "data dependent")


@dataclass(frozen=True, kw_only=True)
class Captured:
    """A network as a program: one image (1, C, H, W) fp32, normalised -> (1, n) fp32.

    `how`: "traced" where torch.export could not take it and torch.jit.trace did. `output`: which of the network's outputs it
    gives, None for its only one. `notes`: what the user must know of the capture, a sentence each.
    """

    program: ExportedProgram
    how: How
    output: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(1, channels, height, width)."""
        return graphs.input_shape(self.program)

    def module(self) -> GraphModule:
        """The program as an eval-mode module for one image, with the network's own names of weights that it computes with."""
        return graphs.module_of(self.program)

    def answers(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, n), one image at a time."""
        return _one_at_a_time(self.module(), images)


def capture(
    module: torch.nn.Module, height: int, width: int, channels: int = 3, *, output: str | None = None, what: str = "the network"
) -> Captured:
    """Capture an eval-mode fp32 CPU module for one size of images; SourceError, with the user's file and line, if it cannot be.

    `output` names one of several outputs. Falls to torch.jit.trace, with a note, where torch.export does not take the module.
    """
    import torch

    shown = samples((1, channels, height, width)).split(1)
    chosen, name, expected = _computed(module, shown, output, what)
    notes = [f"The network gives several outputs or a mapping: {name} was taken."] if name and output is None else []
    how: How = "exported"
    doubtful: str | None = None
    try:
        program = graphs.exported(chosen, shown[0])
    except Exception as error:
        if _depends_on_data(error):
            raise SourceError(_of_control_flow(what, faults.place(error))) from error
        program, doubtful = _traced(chosen, shown[0], error, what)
        how = "traced"
        notes.append(
            f"torch.export does not take the network ({faults.told(error)}): it was traced by torch.jit.trace, which keeps "
            "one way "
            "through the code. It was compared with the module on three images."
        )
    program = _without_blocks(program, shown[0])
    if strange := graphs.strangers(program):
        raise SourceError(
            f"{what} uses {', '.join(strange[:3])}, and exporters take PyTorch's own operations (torch.ops.aten) alone. Leave "
            "it out "
            "of the module's forward"
        )
    captured = Captured(program=graphs.tidied(program), how=how, output=name or None, notes=tuple(notes))
    found = captured.answers(torch.cat(shown))
    snr = _least_snr(expected, found)
    if not snr >= FLOOR_DB:
        raise SourceError(_of_control_flow(what, doubtful) if doubtful else _unlike(what, how, snr))
    return captured


def rewrite(captured: Captured) -> Captured:
    """The same program, to the bit, without what converters are known to get wrong."""
    module = captured.module()
    return again(captured, module) if rewriting.rewrite(module) else captured


def settle(captured: Captured) -> tuple[Captured, tuple[str, ...]]:
    """As it goes to exporters: `rewrite`, and folded what converters would fold; a sentence for each kind of folding.

    Products with a weight become linear layers. Batch norms and factors go into the layers before them, what norms end with into
    the linear layers behind them.
    """
    module = captured.module()
    rewritten = rewriting.rewrite(module)
    weights = products.as_linear(module)
    found = (
        ("batch norms behind {} were folded into {}", folding.fold(module)),
        ("factors behind {} were folded into {}", scales.fold(module)),
        ("the scales of norms in front of {} were folded into {}", affine.fold(module)),
    )
    told = (f"products with {len(weights)} weights, such as {weights[0]}, were made linear layers.",) if weights else ()
    notes = (*told, *(text.format(*_layers(names)) + "." for text, names in found if names))
    return (again(captured, module) if rewritten or notes else captured), notes


def _layers(names: Sequence[str]) -> tuple[str, str]:
    """So many layers in words, such as one of them; and the word for them."""
    if len(names) == 1:
        return f"the layer {names[0]}", "it"
    return f"{len(names)} layers, such as {names[0]},", "them"


def fold_batch_norms(captured: Captured) -> tuple[Captured, tuple[str, ...]]:
    """Fold each batch norm into the convolution or linear layer that feeds it alone, in float64, rounded once; which were folded.

    The folded weights keep the names of the convolution's; a bias that it had not is added under its name. Others stay.
    """
    module = captured.module()
    names = folding.fold(module)
    return (again(captured, module), names) if names else (captured, ())


def again(captured: Captured, module: GraphModule) -> Captured:
    """Captured from a module that was made of it."""
    import torch

    module.recompile()
    program = graphs.exported(graphs.plain(module), torch.zeros(captured.input_shape))
    return replace(captured, program=graphs.tidied(program))


def compare(captured: Captured, module: torch.nn.Module, images: torch.Tensor, *, floor: float = FLOOR_DB) -> float:
    """The centred SNR in dB of the captured program against the eager module; SourceError where it is below `floor`.

    Or the SNR without centring, where that is lower: a constant that was kept from one image shifts all scores alike. `images`:
    (N, C, H, W), normalised; each is run alone. `floor`: less than the usual where rounding alone costs the network more.
    Infinite where both are equal to the bit.
    """
    chosen = outputs.only(module, captured.output) if captured.output else module
    expected, found = _one_at_a_time(chosen, images), captured.answers(images)
    snr = _least_snr(expected, found)
    if not snr >= floor:
        raise SourceError(_unlike("the network", captured.how, snr, floor))
    return snr


def centred_snr(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Power of the expected scores, centred per image, over that of the differences, in dB; a single score is not centred."""
    if expected.shape[1] == 1:
        return _snr(expected, found)
    return _snr(*(rows.double() - rows.double().mean(1, keepdim=True) for rows in (expected, found)))


def _least_snr(expected: torch.Tensor, found: torch.Tensor) -> float:
    return min(centred_snr(expected, found), _snr(expected, found))


def _snr(expected: torch.Tensor, found: torch.Tensor) -> float:
    reference, difference = expected.double(), found.double() - expected.double()
    noise, signal = float(difference.square().sum()), float(reference.square().sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _one_at_a_time(module: Any, images: torch.Tensor) -> torch.Tensor:
    import torch

    with torch.no_grad():
        return torch.cat([module(image.unsqueeze(0).contiguous()) for image in images])


def samples(shape: tuple[int, int, int, int]) -> torch.Tensor:
    """Smooth images like normalised photographs, the same each time; the last is dark, so that ways through the code differ.

    `shape`: (1, channels, height, width); gives (3, channels, height, width).
    """
    import torch

    _, channels, height, width = shape
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(_SAMPLES, channels, max(height // 8, 1), max(width // 8, 1), generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    images = images + 0.1 * torch.randn(images.shape, generator=generator)
    images[-1] = images[-1] * 0.5 - 1.5
    return images


def _computed(
    module: torch.nn.Module, samples: Iterable[torch.Tensor], output: str | None, what: str
) -> tuple[torch.nn.Module, str, torch.Tensor]:
    """The module that gives the one output meant, its name, and its answers; SourceError where the network itself fails."""
    import torch

    first, *_ = samples
    before = outputs.buffers(module)
    size = " x ".join(map(str, first.shape[1:]))
    try:
        with torch.no_grad(), faults.quiet():
            result = module(first)
    except Exception as error:
        raise SourceError(
            f"{what} cannot compute an image of {size} (channels x height x width): {faults.told(error)}. If another size is "
            "meant, "
            f"pass it as --input-size.{_of_channels(module, first.shape[1])}"
        ) from error
    name = outputs.choose(result, output)
    outputs.check_scores(outputs.named(result)[name], name)
    chosen = outputs.only(module, name) if name else module
    with faults.quiet():
        rows = _one_at_a_time(chosen, torch.cat(list(samples)))
    for row in rows:
        outputs.check_scores(row.unsqueeze(0), name)
    outputs.check_unchanged(module, before)
    if not torch.equal(rows[0], outputs.named(result)[name][0]):
        raise SourceError(
            f"{what} gives other scores when it sees the same image again: something in it is random or remembers, such as "
            "F.dropout "
            "without training=self.training"
        )
    return chosen, name, rows


def _of_channels(module: torch.nn.Module, given: int) -> str:
    """What to pass where the network's first convolution takes another number of channels than it was given."""
    import torch

    taken = next((part.in_channels for part in module.modules() if isinstance(part, torch.nn.Conv2d)), given)
    if taken == given or taken not in (1, 3):
        return ""
    order = "GRAY" if taken == 1 else "RGB"
    return f" Its first convolution takes {taken} channel{'' if taken == 1 else 's'}: that is --color-order {order}"


def _traced(module: torch.nn.Module, sample: torch.Tensor, before: Exception, what: str) -> tuple[ExportedProgram, str | None]:
    """The module by way of torch.jit.trace, as a program of fixed shapes; and where the tracer kept a number, if it did."""
    import torch
    from torch._export.converter import TS2EPConverter

    try:
        with torch.no_grad(), faults.quiet():
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                script = torch.jit.trace(module, (sample,), check_trace=False, strict=False)
            dynamic = TS2EPConverter(script, (sample,), {}).convert()
        kept = [one for one in said if issubclass(one.category, torch.jit.TracerWarning)]
        plain = graphs.module_of(dynamic)
        tracing.as_exported(plain)
        program = graphs.exported(graphs.plain(plain), sample)
        return program, faults.at(kept[0].filename, kept[0].lineno) if kept else None
    except Exception as error:
        if _depends_on_data(error):
            raise SourceError(_of_control_flow(what, faults.place(error))) from error
        raise SourceError(
            f"{what} can be captured neither by torch.export ({faults.told(before)}) nor by torch.jit.trace "
            f"({faults.told(error)}). "
            "Rewrite what is named, or capture it where it is made: torch.export.save(program, 'model.pt2')"
        ) from error


def _without_blocks(program: ExportedProgram, sample: torch.Tensor) -> ExportedProgram:
    module = graphs.module_of(program)
    return graphs.exported(graphs.plain(module), sample) if graphs.inline(module) else program


def _depends_on_data(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if any(word in f"{type(seen).__name__} {seen}" for word in _DATA_DEPENDENT):
            return True
        seen = seen.__cause__
    return False


def _of_control_flow(what: str, at: str | None) -> str:
    return (
        f"{what} computes other things for other images{f', at {at}' if at else ''}: a Python value (an if, int(), .item() or "
        "a list) "
        "depends on the numbers in the image, which no phone format can hold. Use torch.where, or compute both ways"
    )


def _unlike(what: str, how: How, snr: float, floor: float = FLOOR_DB) -> str:
    reason = (
        "tracing kept one way through code that depends on the image" if how == "traced" else "this is a fault of torch.export"
    )
    return (
        f"{what}, captured, is not the module that it was made from: {snr:.1f} dB on the images it was compared on, at least "
        f"{floor:.0f} dB are needed. Most likely {reason}"
    )
