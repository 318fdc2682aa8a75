"""Reads how a convolution's input was laid out in front of it, which says in which order its filter stands.

A FULLY_CONNECTED over patches is a convolution with the patches' kernel; behind a RESHAPE of pixels to pairs, a column of the
filter is two of the network's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from squeeze_export.errors import ArtifactError

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array
    from squeeze_export.validation.runners.litert.model import Operation, TfliteFile


def kernel(file: TfliteFile, data: int) -> tuple[int, int]:
    """Height and width of the kernel whose patches tensor `data` holds; (1, 1) where it is no patches but a plain tensor.

    Patches are PAD, then windows along the columns side by side in the channels, then along the rows. ArtifactError where
    slices are joined in any other way: the weights could not be put in order.
    """
    producer = _producers(file)
    rows = _windows(file, producer, data, axis=1)
    if rows is None:
        return 1, 1
    columns = _windows(file, producer, rows[0], axis=2)
    _require(columns is not None, "windows along the rows only")
    assert columns is not None
    padded, height, width = producer.get(columns[0]), rows[1], columns[1]
    _require(padded is not None and padded.name == "PAD" and len(padded.inputs) == 2, "windows over something not padded")
    assert padded is not None
    sides = _argument(file, padded)
    above, beside = height // 2, width // 2
    wanted = [[0, 0], [above, above], [beside, beside], [0, 0]]
    _require(sides == wanted, f"a padding other than {wanted}")
    return height, width


def pairs(file: TfliteFile, data: int) -> tuple[Operation, ...]:
    """The operations that brought the pixels of a picture (1, H, W, 3) into the pairs (1, H, (W + 1) / 2, 6) of tensor `data`.

    Empty where no RESHAPE made it. ArtifactError where one did in any other way: the filter could not be put in order.
    """
    producer, shapes = _producers(file), file.shapes
    last = producer.get(data)
    if last is None or last.name != "RESHAPE":
        return ()
    chain: tuple[Operation, ...] = (last,)
    even = shapes[last.inputs[0]]
    if len(even) == 3:  # rows of an odd number of pixels, one of zeros behind each
        pad = producer.get(last.inputs[0])
        first = producer.get(pad.inputs[0]) if pad is not None else None
        known = pad is not None and pad.name == "PAD" and first is not None and first.name == "RESHAPE"
        _require(known, f"a RESHAPE of {even} that is not rows with a pixel more")
        assert pad is not None
        assert first is not None
        sides = _argument(file, pad)
        _require(sides == [[0, 0], [0, 0], [0, 3]], f"rows padded by {sides}")
        odd = shapes[first.inputs[0]]
        _require(shapes[first.outputs[0]] == (1, odd[1], 3 * odd[2]), f"a picture {odd} in rows {shapes[first.outputs[0]]}")
        chain, even = (first, pad, last), (*odd[:2], odd[2] + 1, *odd[3:])
    wanted = (1, even[1], even[2] // 2, 6) if len(even) == 4 and even[2] % 2 == 0 and even[3] == 3 else None
    _require(shapes[data] == wanted, f"a RESHAPE of {even} to {shapes[data]}, which is not pixels in pairs")
    for step in (operation for operation in chain if operation.name == "RESHAPE"):
        size = _argument(file, step)
        _require(size == list(shapes[step.outputs[0]]), f"a RESHAPE to {size} instead of {shapes[step.outputs[0]]}")
    return chain


def check_moves(file: TfliteFile) -> None:
    """A RESHAPE, and a PAD that lays out no patches, may only bring pixels into pairs for a convolution; else ArtifactError."""
    paired = [step for data, _, _ in file.convolutions() for step in pairs(file, data)]
    sliced = {operation.inputs[0] for operation in file.operations if operation.name == "SLICE"}
    for operation in file.operations:
        if operation.name == "RESHAPE" or (operation.name == "PAD" and operation.outputs[0] not in sliced):
            given, made = operation.inputs[0], operation.outputs[0]
            _require(operation in paired, f"{operation.name} of {file.shapes[given]}, which is not pixels in pairs")
            levels = file.levels(given), file.levels(made)
            _require(levels[0] == levels[1], f"{operation.name} of levels {levels[0]} to levels {levels[1]}")


def unpaired(kernel: Array) -> Array:
    """The filter (O, H, 2n - 1, 3) of a convolution that reads pairs by one of (O, H, n, 6), whose last column is 0."""
    outputs, rows, columns, channels = kernel.shape
    _require(channels == 6, f"a filter {kernel.shape} over pairs of pixels")
    single = kernel.reshape(outputs, rows, 2 * columns, 3)
    _require(not single[:, :, -1].any(), "pairs of pixels whose last column weighs something")
    return single[:, :, :-1]


def _producers(file: TfliteFile) -> dict[int, Operation]:
    return {operation.outputs[0]: operation for operation in file.operations}


def _argument(file: TfliteFile, operation: Operation) -> object:
    """What an operation of one constant argument is told beside its data, as lists of numbers; None where that is not so."""
    known = len(operation.inputs) == 2 and operation.inputs[1] in file.constants
    return file.constants[operation.inputs[1]].tolist() if known else None


def _windows(file: TfliteFile, producer: Mapping[int, Operation], index: int, *, axis: int) -> tuple[int, int] | None:
    """What `index` was cut from and in how many windows, each one step further along `axis`; None where it is no such thing."""
    shapes, constants = file.shapes, file.constants
    joined = producer.get(index)
    if joined is None or joined.name != "CONCATENATION":
        return None
    slices = [producer[part] for part in joined.inputs if part in producer and producer[part].name == "SLICE"]
    if not slices:
        return None
    _require(len(slices) == len(joined.inputs), "slices joined with something else")
    cut = slices[0].inputs[0]
    whole, count = shapes[cut], len(slices)
    _require(len(whole) == 4 and count % 2 == 1, f"{count} windows of {whole}")
    size = [side - count + 1 if place == axis else side for place, side in enumerate(whole)]
    for place, part in enumerate(slices):
        begin = [place if at == axis else 0 for at in range(4)]
        read = [constants[number].tolist() if number in constants else None for number in part.inputs[1:]]
        _require(part.inputs[0] == cut and read == [begin, size], f"SLICE {part.inputs} reads {read} instead of {[begin, size]}")
        _require(list(shapes[part.outputs[0]]) == size, f"SLICE makes {shapes[part.outputs[0]]} instead of {size}")
    _require(list(shapes[index]) == [*size[:3], count * size[3]], f"CONCATENATION of windows makes {shapes[index]}")
    return cut, count


def _require(condition: bool, found: str) -> None:
    if not condition:
        raise ArtifactError(
            f"The TFLite file is damaged or not of this tool's making: what a convolution reads is laid out as {found}. "
            "Export it again."
        )
