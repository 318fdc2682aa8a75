"""Compressed weights in an ML Program: each fp16 kernel replaced by palette, integers or zeros that decode to exactly it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.errors import ConversionError
from squeeze_export.exporters.coreml import blobs
from squeeze_export.exporters.coreml.package import blocks

if TYPE_CHECKING:
    from squeeze_export.compression.codings import AnyWeight, CodedWeight, HalfWeight, UniformWeight
    from squeeze_export.contracts.arrays import Array

WEIGHTS_FILE: Final = "weight.bin"
_IN_PROGRAM: Final = f"@model_path/weights/{WEIGHTS_FILE}"
# As coremltools does it: shorter arrays stand in the program itself.
_SHORTEST_BLOB: Final = 10


def replace_weights(spec: Any, weights: Path, coded: Mapping[str, AnyWeight], *, ios18: bool) -> None:
    """Put the coded weights in the place of the constants that hold them decoded, in place; `weights` is the blob file's folder.

    Every coded weight must be found once, bit for bit, and no other kernel may be left over: ConversionError otherwise. `ios18`:
    the form of the operations, which must be that of the program's opset.
    """
    import numpy as np

    from squeeze_export.compression.codings import HalfWeight

    old = (weights / WEIGHTS_FILE).read_bytes()
    new = blobs.BlobFile()
    unfound = {name: weight.decoded().astype(np.float16) for name, weight in coded.items()}
    for block in blocks(spec):
        replaced = []
        for operation in block.operations:
            stored = _stored(operation, old)
            if stored is None or stored.ndim != 4:
                _move(operation, stored, new)
                replaced.append(type(operation).FromString(operation.SerializeToString()))
                continue
            name = next((n for n, decoded in unfound.items() if np.array_equal(decoded, stored)), None)
            if name is None:
                raise ConversionError(
                    f"coremltools changed a kernel of shape {stored.shape}: it equals none of the compressed weights "
                    f"left ({', '.join(unfound) or 'none'}). Install the coremltools version that this release names."
                )
            del unfound[name]
            weight = coded[name]
            if isinstance(weight, HalfWeight) and not weight.sparse:  # stays as it is
                _move(operation, stored, new)
                replaced.append(type(operation).FromString(operation.SerializeToString()))
                continue
            replaced += _operations(operation.outputs[0], weight, new, ios18=ios18)
        del block.operations[:]
        block.operations.extend(replaced)
    if unfound:
        raise ConversionError(
            f"coremltools left the compressed weights {', '.join(unfound)} out of the program. Install the version that this "
            "release names."
        )
    (weights / WEIGHTS_FILE).write_bytes(new.content())


def _stored(operation: Any, content: bytes) -> Array | None:
    """The floating-point array of a constant in the blob file, or None for every other operation."""
    if operation.type != "const" or operation.attributes["val"].WhichOneof("value") != "blobFileValue":
        return None
    value = operation.attributes["val"]
    kinds = {10: "float16", 11: "float32"}
    kind = value.type.tensorType.dataType
    if kind not in kinds:
        raise ConversionError(f"coremltools stored a constant of type {kind}: only fp16 and fp32 are known here.")
    shape = tuple(dimension.constant.size for dimension in value.type.tensorType.dimensions)
    return blobs.read(content, value.blobFileValue.offset, kinds[kind], shape)


def _move(operation: Any, stored: Array | None, new: blobs.BlobFile) -> None:
    if stored is not None:
        operation.attributes["val"].blobFileValue.offset = new.add(stored)


def _operations(output: Any, weight: AnyWeight, new: blobs.BlobFile, *, ios18: bool) -> list[Any]:
    from squeeze_export.compression.codings import HalfWeight, UniformWeight

    if isinstance(weight, UniformWeight):
        return [_shift_scale(output, weight, new) if ios18 else _affine_ios16(output, weight, new)]
    if isinstance(weight, HalfWeight):
        return [_sparse(output, weight, new) if ios18 else _sparse_ios16(output, weight, new)]
    if weight.coding.needs_ios18 and not ios18:
        raise ConversionError(f"{weight.coding} needs iOS18: export with --ios-target iOS18.")
    if not ios18:
        return [_lut_to_dense_ios16(output, weight, new)]
    return [_lut_to_dense(output, weight, new)] if weight.mask is None else _joint(output, weight, new)


def _lut_to_dense_ios16(output: Any, weight: CodedWeight, new: blobs.BlobFile) -> Any:
    import numpy as np

    operation = _operation("constexpr_lut_to_dense", output)
    packed = np.frombuffer(blobs.pack(weight.indices, weight.coding.bits), np.uint8)
    operation.attributes["indices"].CopyFrom(_value(packed, new))
    operation.attributes["lut"].CopyFrom(_value(weight.table.reshape(-1), new))
    operation.attributes["shape"].CopyFrom(_value(np.array(weight.shape, np.uint32), new))
    return operation


def _lut_to_dense(output: Any, weight: CodedWeight, new: blobs.BlobFile) -> Any:
    import numpy as np

    operation = _operation("constexpr_lut_to_dense", output)
    _bind(operation, "indices", _packed(weight.indices, weight.coding.bits, new))
    _bind(operation, "lut", _value(_tables(weight), new))
    _bind(operation, "vector_axis", _value(np.array(0, np.int32), new))
    return operation


def _joint(output: Any, weight: CodedWeight, new: blobs.BlobFile) -> list[Any]:
    """Zeros and palette: the kept weights by the palette, then all of them by the mask."""
    import numpy as np
    from coremltools.proto import MIL_pb2

    assert weight.mask is not None
    kept = weight.indices[weight.mask]
    sparse = MIL_pb2.Operation(type="constexpr_lut_to_sparse")
    mask, values = sparse.outputs.add(), sparse.outputs.add()
    mask.name, values.name = f"{output.name}_mask", f"{output.name}_kept"
    _type(mask.type, MIL_pb2.UINT1, weight.shape)
    _type(values.type, MIL_pb2.FLOAT16, kept.shape)
    sparse.attributes["name"].CopyFrom(_text(f"{output.name}_kept"))
    _bind(sparse, "indices_mask", _packed(weight.mask.astype(np.uint8), 1, new))
    _bind(sparse, "indices_nonzero_data", _packed(kept, weight.coding.bits, new))
    _bind(sparse, "lut", _value(_tables(weight), new))
    dense = _operation("constexpr_sparse_to_dense", output)
    for key, name in (("nonzero_data", values.name), ("mask", mask.name)):
        dense.inputs[key].arguments.add().name = name
    return [sparse, dense]


def _affine_ios16(output: Any, weight: UniformWeight, new: blobs.BlobFile) -> Any:
    import numpy as np

    operation = _operation("constexpr_affine_dequantize", output)
    operation.attributes["quantized_data"].CopyFrom(_value(weight.values, new))
    operation.attributes["scale"].CopyFrom(_value(weight.scales, new))
    # One for each channel although all are 0: the form that coremltools itself writes.
    operation.attributes["zero_point"].CopyFrom(_value(np.zeros(len(weight.scales), np.int8), new))
    operation.attributes["axis"].CopyFrom(_value(np.array(0, np.int32), new))
    return operation


def _shift_scale(output: Any, weight: UniformWeight, new: blobs.BlobFile) -> Any:
    operation = _operation("constexpr_blockwise_shift_scale", output)
    _bind(operation, "data", _value(weight.values, new))
    _bind(operation, "scale", _value(weight.scales.reshape(-1, 1, 1, 1), new))
    return operation


def _sparse_ios16(output: Any, weight: HalfWeight, new: blobs.BlobFile) -> Any:
    import numpy as np

    operation = _operation("constexpr_sparse_to_dense", output)
    packed = np.frombuffer(blobs.pack(weight.values != 0, 1), np.uint8)
    operation.attributes["mask"].CopyFrom(_value(packed, new))
    operation.attributes["nonzero_data"].CopyFrom(_value(weight.values[weight.values != 0], new))
    operation.attributes["shape"].CopyFrom(_value(np.array(weight.values.shape, np.uint32), new))
    return operation


def _sparse(output: Any, weight: HalfWeight, new: blobs.BlobFile) -> Any:
    operation = _operation("constexpr_sparse_to_dense", output)
    _bind(operation, "nonzero_data", _value(weight.values[weight.values != 0], new))
    _bind(operation, "mask", _packed(weight.values != 0, 1, new))
    return operation


def _tables(weight: CodedWeight) -> Array:
    """(groups, entries, vector) as the operation wants it: (groups, 1, 1, 1, entries, vector)."""
    groups, entries, vector = weight.table.shape
    return weight.table.reshape(groups, 1, 1, 1, entries, vector)


def _operation(kind: str, output: Any) -> Any:
    from coremltools.proto import MIL_pb2

    operation = MIL_pb2.Operation(type=kind)
    operation.outputs.add().CopyFrom(output)
    operation.attributes["name"].CopyFrom(_text(output.name))
    return operation


def _bind(operation: Any, key: str, value: Any) -> None:
    operation.inputs[key].arguments.add().value.CopyFrom(value)


def _packed(values: Array, bits: int, new: blobs.BlobFile) -> Any:
    from coremltools.proto import MIL_pb2

    value = MIL_pb2.Value()
    _type(value.type, MIL_pb2.DataType.Value(f"UINT{bits}"), values.shape)
    value.blobFileValue.fileName = _IN_PROGRAM
    value.blobFileValue.offset = new.add_packed(values, bits)
    return value


def _value(array: Array, new: blobs.BlobFile) -> Any:
    """A constant inside the program if it is short, in the blob file otherwise."""
    import numpy as np
    from coremltools.proto import MIL_pb2

    value = MIL_pb2.Value()
    _type(value.type, MIL_pb2.DataType.Value(array.dtype.name.upper()), array.shape)
    if array.size >= _SHORTEST_BLOB:
        value.blobFileValue.fileName = _IN_PROGRAM
        value.blobFileValue.offset = new.add(array)
    elif array.dtype == np.int32:
        value.immediateValue.tensor.ints.values.extend(int(number) for number in array.reshape(-1))
    else:  # the other types stand as their little-endian bytes
        content = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        value.immediateValue.tensor.bytes.values = content
    return value


def _text(text: str) -> Any:
    from coremltools.proto import MIL_pb2

    value = MIL_pb2.Value()
    value.type.tensorType.dataType = MIL_pb2.STRING
    value.immediateValue.tensor.strings.values.append(text)
    return value


def _type(kind: Any, data_type: int, shape: tuple[int, ...]) -> None:
    kind.tensorType.dataType = data_type
    kind.tensorType.rank = len(shape)
    for size in shape:
        kind.tensorType.dimensions.add().constant.size = size
