"""What XNNPACK leaves to others is written as what it takes: one part of the graph, the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from squeeze_export.exporters.tflite import flatbuffer
from squeeze_export.exporters.tflite.captured import partition

SIDE, CHANNELS = 6, 3


class Drawn:
    """A TFLite model of the operations that a test adds to it, over one picture 1 x 6 x 6 x 3."""

    def __init__(self):
        self.model = schema.ModelT()
        self.model.version, self.model.operatorCodes, self.model.buffers = 3, [], [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.inputs = [], [], [0]
        self.model.subgraphs = [self.graph]
        self.tensor((1, SIDE, SIDE, CHANNELS))

    def tensor(self, shape, values=None):
        made = schema.TensorT()
        made.name, made.shape, made.buffer = f"t{len(self.graph.tensors)}".encode(), list(shape), 0
        made.type = schema.TensorType.INT32 if values is not None and values.dtype == np.int32 else schema.TensorType.FLOAT32
        if values is not None:
            flatbuffer.give_data(self.model, made, values)
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def add(self, kind, inputs, shape, options=None, **values):
        how = None
        if options:
            made = getattr(schema, f"{options}T")()
            for name, value in values.items():
                setattr(made, name, value)
            how = (getattr(schema.BuiltinOptions, options), made)
        output = self.tensor(shape)
        self.graph.operators.append(flatbuffer.new_operator(self.model, kind, 1, list(inputs), [output], how))
        return output

    def padded(self, given, sides, value):
        shape = [size + sum(pair) for size, pair in zip(self.graph.tensors[given].shape, sides, strict=True)]
        inputs = [given, self.tensor((4, 2), np.array(sides, np.int32)), self.tensor((), np.array(value, np.float32))]
        return self.add("PADV2", inputs, shape, "PadV2Options")

    def pooled(self, given, size=3, stride=2):
        side = (self.graph.tensors[given].shape[1] - size) // stride + 1
        options = {"filterHeight": size, "filterWidth": size, "strideH": stride, "strideW": stride, "padding": 1}
        channels = self.graph.tensors[given].shape[3]
        return self.add("MAX_POOL_2D", [given], (1, side, side, channels), "Pool2DOptions", **options)

    def joined(self, parts):
        channels = sum(self.graph.tensors[part].shape[3] for part in parts)
        return self.add("CONCATENATION", parts, (1, SIDE, SIDE, channels), "ConcatenationOptions", axis=3)

    def several(self, count):
        return [self.add("RELU" if place % 2 else "ABS", [0], (1, SIDE, SIDE, CHANNELS)) for place in range(count)]

    def rewritten(self, *outputs, rounding=0):
        """(operations, whether XNNPACK takes all in one part) before and after; both must give the same, to that rounding."""
        self.graph.outputs = list(outputs)
        kinds = flatbuffer.operators(self.model)
        content = flatbuffer.serialise(self.model, description="", metadata={})
        changed = flatbuffer.parse(content)
        partition.into_one(changed)
        found = [(kinds, *run(content))]
        kinds = flatbuffer.operators(changed)
        found.append((kinds, *run(flatbuffer.serialise(changed, description="", metadata={}))))
        assert all(np.allclose(*pair, rtol=rounding, atol=rounding) for pair in zip(found[0][2], found[1][2], strict=True))
        return [(kinds, whole) for kinds, whole, _ in found]


def run(content):
    """Whether XNNPACK takes the whole in one part, from what goes in to what comes out; and what the model gives."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    given, gives = (
        {each["index"] for each in ends} for ends in (interpreter.get_input_details(), interpreter.get_output_details())
    )
    parts = [node for node in interpreter._get_ops_details() if node["op_name"] == "DELEGATE"]
    whole = len(parts) == 1 and given <= set(parts[0]["inputs"]) and gives == set(parts[0]["outputs"])
    image = np.random.default_rng(3).standard_normal((1, SIDE, SIDE, CHANNELS)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return whole, [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]


RIM = [[0, 0], [1, 1], [1, 1], [0, 0]]


def test_a_pool_behind_a_relu_is_padded_with_zeros():
    drawn = Drawn()
    relu = drawn.add("RELU", [0], (1, SIDE, SIDE, CHANNELS))
    before, after = drawn.rewritten(drawn.add("LOGISTIC", [drawn.pooled(drawn.padded(relu, RIM, -np.inf))], (1, 3, 3, 3)))
    assert before == (["RELU", "PADV2", "MAX_POOL_2D", "LOGISTIC"], False)
    assert after == (["RELU", "PAD", "MAX_POOL_2D", "LOGISTIC"], True)


def test_what_never_was_negative_is_known_through_what_moves_and_adds():
    drawn = Drawn()
    first, second = drawn.several(2)
    added = drawn.add("ADD", [first, second], (1, SIDE, SIDE, CHANNELS), "AddOptions")
    _, after = drawn.rewritten(drawn.pooled(drawn.padded(drawn.joined([added, first]), RIM, -np.inf)))
    assert after == (["ABS", "RELU", "ADD", "CONCATENATION", "PAD", "MAX_POOL_2D"], True)


@pytest.mark.parametrize("sides", [RIM, [[0, 0], [2, 0], [0, 1], [0, 0]]])
def test_where_values_may_be_negative_the_rim_is_joined(sides):
    drawn = Drawn()
    moved = drawn.add("NEG", [0], (1, SIDE, SIDE, CHANNELS))
    before, after = drawn.rewritten(
        drawn.add("ABS", [drawn.padded(moved, sides, -np.inf)], [1, 8, 8, 3] if sides is RIM else [1, 8, 7, 3])
    )
    assert not before[1] and after == (["NEG", "CONCATENATION", "CONCATENATION", "ABS"], True)


def test_zeros_are_not_taken_where_another_reads_them_or_a_window_holds_nothing_else():
    for sides, readers in ((RIM, ("ABS",)), ([[0, 0], [3, 1], [1, 1], [0, 0]], ())):
        drawn = Drawn()
        padded = drawn.padded(drawn.add("RELU", [0], (1, SIDE, SIDE, CHANNELS)), sides, -1.0)
        pool = drawn.add(
            "MAX_POOL_2D",
            [padded],
            (1, 3, 3, 3) if readers else (1, 4, 3, 3),
            "Pool2DOptions",
            filterHeight=3,
            filterWidth=3,
            strideH=2,
            strideW=2,
            padding=1,
        )
        others = [drawn.add(kind, [padded], drawn.graph.tensors[padded].shape) for kind in readers]
        _, after = drawn.rewritten(pool, *others)
        assert "PAD" not in after[0] and after[0].count("CONCATENATION") == 2


def test_a_column_of_ones_is_joined():
    drawn = Drawn()
    before, after = drawn.rewritten(
        drawn.add("ABS", [drawn.padded(0, [[0, 0], [0, 0], [0, 0], [0, 1]], 1.0)], (1, SIDE, SIDE, 4))
    )
    assert before[0] == ["PADV2", "ABS"] and after == (["CONCATENATION", "ABS"], True)


def test_joins_of_many_are_made_on_those_before_them():
    drawn = Drawn()
    parts = drawn.several(7)
    before, after = drawn.rewritten(
        *(drawn.add("ABS", [drawn.joined(parts[:count])], (1, SIDE, SIDE, 3 * count)) for count in (5, 6, 7))
    )
    assert before[0] == after[0] and (before[1], after[1]) == (False, True)


def test_a_join_of_many_that_stands_alone_is_made_in_steps():
    drawn = Drawn()
    _, after = drawn.rewritten(drawn.joined(drawn.several(11)))
    assert after[0].count("CONCATENATION") == 3 and after[1]


@pytest.mark.parametrize("rank", [2, 4])
def test_a_product_of_two_computed_matrices_is_written_as_one(rank):
    drawn = Drawn()
    shapes = ([1, 2, 18, 3] if rank == 4 else [36, 3], [36, 3])
    first, second = (
        drawn.add(
            "RESHAPE", [given, drawn.tensor((len(shape),), np.array(shape, np.int32))], shape, "ReshapeOptions", newShape=shape
        )
        for given, shape in zip(drawn.several(2), shapes, strict=True)
    )
    product = drawn.add("FULLY_CONNECTED", [first, second, -1], [*shapes[0][:-1], 36], "FullyConnectedOptions", keepNumDims=True)
    before, after = drawn.rewritten(product, rounding=1e-6)
    assert before[0][-1] == "FULLY_CONNECTED" and not before[1]
    assert after[0][-1] == "BATCH_MATMUL" and after[1]


def test_a_layer_with_a_bias_or_a_stored_kernel_stays():
    for kernel, bias in ((True, False), (False, True)):
        drawn = Drawn()
        weight = drawn.tensor((2, 3), np.ones((2, 3), np.float32))
        weight = weight if kernel else drawn.add("NEG", [weight], (2, 3))
        shift = drawn.tensor((2,), np.ones(2, np.float32)) if bias else -1
        options = {"keepNumDims": True}
        _, after = drawn.rewritten(
            drawn.add("FULLY_CONNECTED", [0, weight, shift], (1, SIDE, SIDE, 2), "FullyConnectedOptions", **options)
        )
        assert after[0][-1] == "FULLY_CONNECTED"
