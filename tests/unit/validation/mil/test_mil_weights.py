"""Compressed weights: what coremltools' compressors write, decoded here, against coremltools' own decoder and the source."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from squeeze_export.errors import ArtifactError
from squeeze_export.sdks import load_coremltools
from squeeze_export.validation.mil.ops import IMPLEMENTED
from squeeze_export.validation.mil.package import read_package
from squeeze_export.validation.mil.program import layer_weights
from squeeze_export.validation.mil.weights import DECODERS


class TwoConvolutions(torch.nn.Module):
    """Weights that every compressor accepts: channel counts with many divisors, values of all sizes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = torch.nn.Conv2d(16, 32, 3)
        self.second = torch.nn.Conv2d(32, 16, 1)
        with torch.no_grad():
            self.first.weight *= torch.linspace(0.2, 3, 32).view(-1, 1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


@pytest.fixture(scope="module")
def source() -> TwoConvolutions:
    return TwoConvolutions().eval()


@pytest.fixture(scope="module")
def plain(workshop, source) -> dict[tuple[str, str], Path]:
    return {
        (target, precision): workshop.convert(
            source, 1, 16, 8, 8, target=target, precision=precision, name="plain", outputs=["y"]
        )
        for target, precision in (("iOS16", "fp16"), ("iOS16", "fp32"), ("iOS18", "fp16"), ("iOS18", "fp32"))
    }


def _palettize(opt: Any, **how: Any) -> Any:
    return lambda m, **kw: opt.palettize_weights(m, _config(opt, opt.OpPalettizerConfig, how), **kw)


def _quantize(opt: Any, **how: Any) -> Any:
    return lambda m, **kw: opt.linear_quantize_weights(m, _config(opt, opt.OpLinearQuantizerConfig, how), **kw)


def _prune(opt: Any, **how: Any) -> Any:
    return lambda m, **kw: opt.prune_weights(m, _config(opt, opt.OpMagnitudePrunerConfig, how), **kw)


def _config(opt: Any, kind: Any, how: dict[str, Any]) -> Any:
    return opt.OptimizationConfig(global_config=kind(weight_threshold=0, **how))


PALETTE = {"mode": "kmeans", "num_kmeans_workers": 1}
GROUPED = {"granularity": "per_grouped_channel", "group_size": 8}
# name: (target, the operations that must then stand in the package, the compressors in order)
CONFIGURATIONS: dict[str, tuple[str, set[str], Any]] = {
    **{
        f"palette of {bits} bits": ("iOS16", {"lut_to_dense"}, [(_palettize, {**PALETTE, "nbits": bits})])
        for bits in (1, 2, 4, 6, 8)
    },
    **{
        f"grouped palette of {bits} bits": ("iOS18", {"lut_to_dense"}, [(_palettize, {**PALETTE, **GROUPED, "nbits": bits})])
        for bits in (1, 2, 3, 4, 6, 8)
    },
    "grouped palette along the inputs": (
        "iOS18",
        {"lut_to_dense"},
        [(_palettize, {**PALETTE, **GROUPED, "nbits": 3, "channel_axis": 1})],
    ),
    "palette of vectors": ("iOS18", {"lut_to_dense"}, [(_palettize, {**PALETTE, "nbits": 4, "cluster_dim": 2})]),
    "grouped palette of vectors": (
        "iOS18",
        {"lut_to_dense"},
        [(_palettize, {**PALETTE, **GROUPED, "nbits": 2, "cluster_dim": 4})],
    ),
    "palette with a scale per channel": (
        "iOS18",
        {"lut_to_dense", "blockwise_shift_scale"},
        [(_palettize, {**PALETTE, "nbits": 4, "enable_per_channel_scale": True})],
    ),
    "symmetric int8": ("iOS16", {"affine_dequantize"}, [(_quantize, {"mode": "linear_symmetric"})]),
    "asymmetric int8": ("iOS16", {"affine_dequantize"}, [(_quantize, {"mode": "linear"})]),
    "asymmetric uint8 per tensor": (
        "iOS16",
        {"affine_dequantize"},
        [(_quantize, {"mode": "linear", "dtype": "uint8", "granularity": "per_tensor"})],
    ),
    "symmetric int4 per channel": (
        "iOS18",
        {"blockwise_shift_scale"},
        [(_quantize, {"mode": "linear_symmetric", "dtype": "int4"})],
    ),
    "asymmetric int4 per block": (
        "iOS18",
        {"blockwise_shift_scale"},
        [(_quantize, {"mode": "linear", "dtype": "int4", "granularity": "per_block", "block_size": 4})],
    ),
    "asymmetric uint4 per block of both axes": (
        "iOS18",
        {"blockwise_shift_scale"},
        [(_quantize, {"mode": "linear", "dtype": "uint4", "granularity": "per_block", "block_size": [2, 8, 1, 1]})],
    ),
    "int8 per block": (
        "iOS18",
        {"blockwise_shift_scale"},
        [(_quantize, {"mode": "linear_symmetric", "granularity": "per_block", "block_size": 8})],
    ),
    "sparse": ("iOS16", {"sparse_to_dense"}, [(_prune, {"target_sparsity": 0.6})]),
    "sparse, iOS18": ("iOS18", {"sparse_to_dense"}, [(_prune, {"target_sparsity": 0.6})]),
    "sparse palette": (
        "iOS18",
        {"lut_to_sparse", "sparse_to_dense"},
        [(_prune, {"target_sparsity": 0.6}), (_palettize, {**PALETTE, "nbits": 4})],
    ),
    "sparse grouped palette": (
        "iOS18",
        {"lut_to_sparse", "sparse_to_dense"},
        [(_prune, {"target_sparsity": 0.4}), (_palettize, {**PALETTE, **GROUPED, "nbits": 3})],
    ),
    "sparse int8": (
        "iOS18",
        {"sparse_blockwise_shift_scale", "sparse_to_dense"},
        [(_prune, {"target_sparsity": 0.6}), (_quantize, {"mode": "linear_symmetric"})],
    ),
    "sparse int4 with zero points": (
        "iOS18",
        {"sparse_blockwise_shift_scale", "sparse_to_dense"},
        [(_prune, {"target_sparsity": 0.6}), (_quantize, {"mode": "linear", "dtype": "int4"})],
    ),
    "palette whose table is int8": (
        "iOS18",
        {"lut_to_dense", "blockwise_shift_scale"},
        [(_palettize, {**PALETTE, "nbits": 4}), (_quantize, {"mode": "linear_symmetric", "granularity": "per_tensor"})],
    ),
}


def _compress(workshop: Any, path: Path, compressors: Any) -> tuple[Path, Path]:
    """Save the package compressed, and decompressed again by coremltools."""
    ct = load_coremltools()
    import coremltools.optimize.coreml as opt

    with warnings.catch_warnings():
        # scikit-learn finds fewer distinct values than clusters; coremltools leaves temporary folders behind.
        warnings.simplefilter("ignore")
        model = ct.models.MLModel(str(path), skip_model_load=True)
        for index, (compress, how) in enumerate(compressors):
            model = compress(opt, **how)(model, **({"joint_compression": True} if index else {}))
        compressed = workshop.save(model, "compressed")
        model = opt.decompress_weights(model)
        decompressed = workshop.save(model, "decompressed")
        del model
        gc.collect()
    return compressed, decompressed


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_compressed_weights_decode_as_coremltools_decodes_them(workshop, plain, source, name, precision):
    target, operations, compressors = CONFIGURATIONS[name]
    path, decompressed = _compress(workshop, plain[target, precision], compressors)
    program = next(iter(read_package(path, IMPLEMENTED).spec.mlProgram.functions["main"].block_specializations.values()))
    assert operations <= {operation.type.removeprefix("constexpr_") for operation in program.operations}

    mine, theirs = layer_weights(workshop.load(path)), layer_weights(workshop.load(decompressed))
    assert len(mine) == len(theirs) == 4
    changed = 0
    for ours, other, original in zip(mine, theirs, source.parameters(), strict=True):
        assert ours.dtype == other.dtype == np.dtype(f"float{precision[2:]}")
        # Where a scale multiplies a table value, ours is rounded once, coremltools' computes in the scale's own type.
        np.testing.assert_allclose(ours, other, rtol=2e-3 if precision == "fp16" else 1e-6, atol=1e-7)
        changed += not np.array_equal(ours, original.detach().numpy().astype(ours.dtype))
    assert changed, "nothing was compressed"


def test_results_of_a_compressed_package_follow_its_decoded_weights(workshop, plain, source):
    """The weights that the executor decodes are also those that it computes with."""
    path, _ = _compress(workshop, plain["iOS18", "fp32"], [(_quantize, {"mode": "linear_symmetric", "dtype": "int4"})])
    first, first_bias, second, second_bias = (torch.from_numpy(np.array(weight)) for weight in layer_weights(workshop.load(path)))
    x = torch.sin(torch.arange(16 * 64.0)).reshape(1, 16, 8, 8)
    expected = torch.conv2d(torch.conv2d(x, first, first_bias).relu(), second, second_bias)
    result = workshop.run(path, {"image": x.numpy()})["y"]
    np.testing.assert_allclose(result, expected.numpy(), rtol=1e-5, atol=1e-6)
    with torch.inference_mode():
        assert np.abs(result - source(x).numpy()).max() > 1e-2  # four bits are not the source


def test_weights_kept_as_fp16_for_an_fp32_program(workshop):
    """constexpr_cast, which no compressor writes, made with the builder; in both opsets that have it."""
    load_coremltools()
    from coremltools.converters.mil import Builder as mb

    kernel = np.linspace(-1, 1, 12, dtype=np.float16).reshape(4, 3, 1, 1)
    for target in ("iOS16", "iOS18"):
        path = workshop.build(
            lambda x: mb.conv(x=x, weight=mb.constexpr_cast(source_val=kernel, output_dtype="fp32"), pad_type="valid"),
            (1, 3, 2, 2),
            target=target,
        )
        (weight,) = layer_weights(workshop.load(path))
        assert weight.dtype == np.float32
        np.testing.assert_array_equal(weight, kernel.astype(np.float32))


# The examples of the operations' published definitions, worked out there by hand.
TABLES = np.array([1, 5, 9, 13, 2, 10, 18, 26], np.float16).reshape(2, 1, 4, 1)
MASK = np.array([[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]], np.uint8)
KEPT = np.array([0, 1, 1, 0, 1, 1, 0, 0, 1], np.uint8)


def test_a_table_per_group():
    indices = np.array([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3], np.uint8).reshape(6, 2)
    (dense,) = DECODERS["constexpr_lut_to_dense"]({"indices": indices, "lut": TABLES})
    np.testing.assert_array_equal(dense, [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]])


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_a_table_of_vectors(axis):
    indices = np.array([0, 0, 1, 0, 1, 1, 0, 0], np.uint8).reshape(2, 2, 2)
    lut = np.array([10, 11, 12, 20, 21, 22], np.int8).reshape(1, 1, 1, 2, 3)
    (dense,) = DECODERS["constexpr_lut_to_dense"]({"indices": indices, "lut": lut, "vector_axis": np.int32(axis)})
    if axis == 1:
        expected = [
            [[10, 10], [11, 11], [12, 12], [20, 10], [21, 11], [22, 12]],
            [[20, 20], [21, 21], [22, 22], [10, 10], [11, 11], [12, 12]],
        ]
    else:
        expected = [
            [[10, 11, 12, 10, 11, 12], [20, 21, 22, 10, 11, 12]],
            [[20, 21, 22, 20, 21, 22], [10, 11, 12, 10, 11, 12]],
        ]
    np.testing.assert_array_equal(dense, expected)


def test_a_table_for_kept_weights_only():
    lut = np.array([2, 3], np.float16).reshape(1, 1, 2, 1)
    mask, values = DECODERS["constexpr_lut_to_sparse"]({"indices_mask": MASK, "indices_nonzero_data": KEPT, "lut": lut})
    np.testing.assert_array_equal(mask, MASK)
    np.testing.assert_array_equal(values, [2, 3, 3, 2, 3, 3, 2, 2, 3])


def test_a_table_of_vectors_for_kept_weights_only():
    lut = np.array([2, 2, 3, 3], np.float16).reshape(1, 1, 2, 2)
    inputs = {"indices_mask": MASK, "indices_nonzero_data": KEPT, "lut": lut, "vector_axis": np.int32(0)}
    mask, values = DECODERS["constexpr_lut_to_sparse"](inputs)
    np.testing.assert_array_equal(mask, np.repeat(MASK, 2, 0))
    (dense,) = DECODERS["constexpr_sparse_to_dense"]({"nonzero_data": values, "mask": mask})
    np.testing.assert_array_equal(dense[::2], [[2, 3, 0, 0, 0, 0], [3, 2, 0, 0, 0, 3], [0, 3, 2, 0, 2, 0], [0, 0, 0, 3, 0, 0]])
    np.testing.assert_array_equal(dense[1::2], dense[::2])


def test_scales_for_kept_weights_only():
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]], np.uint8)
    inputs = {
        "data_mask": mask,
        "nonzero_data": np.array([10, 11, 3, 4, 5, 6, 7, 8, 9], np.int8),
        "scale": np.array([[0.1, 0.2, 0.3, 0.4]], np.float32),
        "offset": np.array([[1, 2, 3, 4]], np.int8),
    }
    _, values = DECODERS["constexpr_sparse_blockwise_shift_scale"](inputs)
    np.testing.assert_allclose(values, [0.9, 1.8, 0.2, 0.4, 0.6, 0.9, 1.2, 0.7, 1.4], rtol=1e-6)


def test_bits_of_the_iOS16_mask_begin_at_the_lowest():
    (dense,) = DECODERS["constexpr_sparse_to_dense"](
        {"nonzero_data": np.array([5, 7], np.int8), "mask": np.array([0b00001100], np.uint8), "shape": np.array([5], np.uint32)}
    )
    np.testing.assert_array_equal(dense, [0, 0, 5, 7, 0])


def test_six_bit_indices_of_iOS16_cross_byte_borders():
    indices = np.array([1, 62, 33, 5, 63], np.uint64)
    packed = int(sum(int(index) << (6 * place) for place, index in enumerate(indices))).to_bytes(4, "little")
    lut = np.arange(64, dtype=np.float32) * 2
    (dense,) = DECODERS["constexpr_lut_to_dense"](
        {"indices": np.frombuffer(packed, np.uint8), "lut": lut, "shape": np.array([1, 5], np.uint32)}
    )
    np.testing.assert_array_equal(dense, [[2, 124, 66, 10, 126]])


@pytest.mark.parametrize(
    ("operation", "inputs", "reason"),
    [
        ("sparse_to_dense", {"nonzero_data": np.ones(3), "mask": np.array([1, 1, 0], np.uint8)}, "2 bits set for 3"),
        ("lut_to_dense", {"indices": np.array([5], np.uint8), "lut": np.ones((1, 4, 1))}, "outside a table of 4"),
        ("lut_to_dense", {"indices": np.zeros((4, 4), np.uint8), "lut": np.ones((3, 1, 4, 1))}, "3 blocks do not divide 4"),
        ("lut_to_dense", {"indices": np.zeros((4,), np.uint8), "lut": np.ones((1, 1, 4, 1))}, "cannot serve"),
        ("lut_to_dense", {"indices": np.zeros(1, np.uint8), "lut": np.ones(16), "shape": np.array([9])}, "do not fit in 1 bytes"),
    ],
)  # fmt: skip
def test_inconsistent_compressed_weights_are_refused(operation, inputs, reason):
    with pytest.raises(ArtifactError, match=reason):
        DECODERS[f"constexpr_{operation}"](inputs)
