"""Int8 for TorchScript Lite: the deployed network on qnnpack's operators, with the numbers that are chosen here.

Filters are symmetric per output channel, activations have 256 levels between the smallest and the largest value that the
calibration images give. (torch's own FX quantisation is deprecated, and its observers choose for it.) Like TFLite's int8, the
mean in front of the scores is left in float32, and so is the normalisation behind the input: folding it into the first
convolution, so that pixels are quantised as they are, was measured to make it worse: 35.4 dB instead of 36.7 with torchvision's
weights, 28.7 instead of 28.9 with Deep Compression's.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from squeeze_export.errors import ConversionError
from squeeze_export.exporters.filters import quantise_filter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch

    from squeeze_export.contracts.arrays import Array

ENGINE: Final = "qnnpack"  # the one of the mobile runtime; packed filters are read by the engine that is set
_LEVELS: Final = 255  # of an activation, quint8


@contextmanager
def engine() -> Iterator[None]:
    """Set qnnpack as torch's engine for a while; ConversionError where this torch has none."""
    import torch

    before = torch.backends.quantized.engine
    if ENGINE not in torch.backends.quantized.supported_engines:
        raise ConversionError(f"This torch has no {ENGINE}: export TorchScript with fp32 or fp16, or on Linux or macOS.")
    with warnings.catch_warnings():
        # Packed parameters are such tensors; the mobile runtime knows no others.
        warnings.filterwarnings("ignore", r"torch\.quantize_per_tensor, torch\.quantize_per_channel", UserWarning)
        torch.backends.quantized.engine = ENGINE
        try:
            yield
        finally:
            torch.backends.quantized.engine = before


def quantise(module: torch.nn.Module, images: Sequence[Array]) -> tuple[torch.nn.Module, dict[str, Array]]:
    """Rebuild a float32 network in int8, calibrated on inputs (1, 3, H, W), to be traced and run under `engine()`.

    Also gives what the convolutions compute with, by state dict name: decoded filters (O, I, H, W) and biases, float32.
    Raises ConversionError for an operation that int8 does not cover and for calibration images that give NaN or infinity.
    """
    import torch

    graph = torch.fx.symbolic_trace(module)
    ranges = _measure(graph, images)
    chosen: dict[str, Array] = {}
    steps: list[_Step] = []
    # Of the values so far, those that are quantised, with their scale and zero point.
    levels: dict[torch.fx.Node, tuple[float, int]] = {}
    fused: dict[torch.fx.Node, torch.fx.Node] = {}

    class Quantised(torch.nn.Module):
        # As in deployed.py: TorchScript writes this name into the file.
        __module__ = "squeeze_export.exporters.torchscript_quantized"

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            values: dict[Any, Any] = {}
            result: torch.Tensor = image
            for target, step, inputs in steps:
                result = values[target] = step(self, image if inputs is None else [values[node] for node in inputs])
            return result

    made = Quantised()
    for node in graph.graph.nodes:
        given = list(node.all_input_nodes)
        child = graph.get_submodule(node.target) if node.op == "call_module" else None
        if node.op == "placeholder":
            steps.append((node, lambda _, image: image, None))
        elif node.op == "output":
            continue
        elif isinstance(child, torch.nn.Conv2d):
            (source,) = given
            if source not in levels:
                levels[source] = _levels(ranges[source])
                steps.append((source, _quantiser(*levels[source]), [source]))
            user = _relu_behind(graph, node)
            result = user or node
            if user is not None:
                fused[user] = node
            shared = next((other for other in result.users if _is_cat(other)), result)
            levels[result] = _levels(ranges[shared])
            name = str(node.target)
            packed, decoded = _packed(name, child)
            setattr(made, name.replace(".", "_"), packed)
            chosen |= {f"{name}.weight": decoded, f"{name}.bias": child.bias.detach().numpy().copy()}
            steps.append((result, _convolver(name.replace(".", "_"), levels[result], relu=user is not None), [source]))
        elif node in fused:
            continue
        elif not any(one in levels for one in given) or isinstance(child, torch.nn.AdaptiveAvgPool2d):
            steps.append((node, _in_float(graph, node), given))
        elif isinstance(child, (torch.nn.MaxPool2d, torch.nn.Dropout, torch.nn.Identity)):
            levels[node] = levels[given[0]]  # these only select values
            steps.append((node, _passer(child), given))
        elif all(one in levels for one in given) and (_is_cat(node) or (_is_add(node) and len(given) == 2)):
            levels[node] = _levels(ranges[node])
            steps.append((node, _joiner(levels[node], add=_is_add(node)), given))
        else:
            raise ConversionError(f"{node.target} is an operation that TorchScript int8 does not cover: export with fp32.")
    return made.eval(), chosen


_Step = tuple[Any, Any, Any]  # the value it makes, (module, inputs) -> value, the values it takes


def _measure(graph: Any, images: Sequence[Array]) -> dict[Any, tuple[float, float]]:
    """Smallest and largest value of everything that the network computes, over all images."""
    import torch

    found: dict[Any, tuple[float, float]] = {}

    class Watch(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            if n.op != "output":
                low, high = (float(bound) for bound in value.aminmax())
                before = found.get(n, (low, high))
                found[n] = min(before[0], low), max(before[1], high)
                if not (abs(low) < float("inf") and abs(high) < float("inf")):
                    raise ConversionError(f"The calibration images give NaN or infinity in {n.name}: int8 has no range for that.")
            return value

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of summation, and with it the last digit of a scale, must not hang on the machine
    try:
        with torch.no_grad():
            for image in images:
                Watch(graph).run(torch.from_numpy(image))
    finally:
        torch.set_num_threads(threads)
    return found


def _levels(bounds: tuple[float, float]) -> tuple[float, int]:
    """Scale and zero point of quint8 between two values; 0 has a level of its own: padding is made of it."""
    low, high = min(0.0, bounds[0]), max(0.0, bounds[1])
    scale = (high - low or 1.0) / _LEVELS
    return scale, min(max(round(-low / scale), 0), _LEVELS)


def _packed(name: str, convolution: torch.nn.Conv2d) -> tuple[Any, Array]:
    """Give qnnpack's form of a convolution, and its filter as it decodes."""
    import numpy as np
    import torch

    if convolution.bias is None or convolution.padding_mode != "zeros":
        raise ConversionError(f"{name} is a convolution that TorchScript int8 does not cover: export with fp32.")
    made = quantise_filter(convolution.weight.detach().numpy())
    scales, zeros = torch.from_numpy(made.scales.astype(np.float64)), torch.zeros(len(made.scales), dtype=torch.int64)
    weight = torch._make_per_channel_quantized_tensor(torch.from_numpy(made.values), scales, zeros, 0)
    stride, padding, dilation = (list(value) for value in (convolution.stride, convolution.padding, convolution.dilation))
    bias = convolution.bias.detach().clone()
    return torch.ops.quantized.conv2d_prepack(weight, bias, stride, padding, dilation, convolution.groups), made.decoded


def _relu_behind(graph: Any, node: Any) -> Any:
    import torch

    users = list(node.users)
    if len(users) == 1 and users[0].op == "call_module" and isinstance(graph.get_submodule(users[0].target), torch.nn.ReLU):
        return users[0]
    return None


def _is_cat(node: Any) -> bool:
    import torch

    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return node.op == "call_function" and node.target is torch.cat and dim == 1


def _is_add(node: Any) -> bool:
    import operator

    return node.op == "call_function" and node.target is operator.add


def _quantiser(scale: float, zero: int) -> Any:
    import torch

    return lambda _, inputs: torch.quantize_per_tensor(inputs[0], scale, zero, torch.quint8)


def _convolver(attribute: str, levels: tuple[float, int], *, relu: bool) -> Any:
    import torch

    operation = torch.ops.quantized.conv2d_relu if relu else torch.ops.quantized.conv2d
    return lambda module, inputs: operation(inputs[0], getattr(module, attribute), *levels)


def _passer(child: torch.nn.Module) -> Any:
    return lambda _, inputs: child(inputs[0])


def _joiner(levels: tuple[float, int], *, add: bool) -> Any:
    import torch

    if add:
        return lambda _, inputs: torch.ops.quantized.add(*inputs, *levels)
    return lambda _, inputs: torch.ops.quantized.cat(inputs, 1, *levels)


def _in_float(graph: Any, node: Any) -> Any:
    """Carry out an operation of the network as it is, on float32."""
    import torch

    def step(_: torch.nn.Module, inputs: list[torch.Tensor]) -> Any:
        floats = [value.dequantize() if value.is_quantized else value for value in inputs]
        known: Mapping[Any, torch.Tensor] = dict(zip(node.all_input_nodes, floats, strict=True))
        args = torch.fx.node.map_arg(node.args, lambda one: known[one])
        kwargs = torch.fx.node.map_arg(node.kwargs, lambda one: known[one])
        return getattr(torch.fx.Interpreter(graph), node.op)(node.target, args, kwargs)

    return step
