"""int8 against what TensorFlow's own converter makes of the same network, calibrated on the same pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# A process of its own: TensorFlow beside torch may hang while the interpreter shuts down, and must not slow the other tests.
_BOTH = """
import json, os, sys, warnings
from pathlib import Path

warnings.simplefilter("ignore")  # TensorFlow advises to move on to LiteRT
import numpy as np
import tensorflow as tf
import torch
from ai_edge_litert.interpreter import Interpreter
from squeeze_export.demo.characters import demo_image
from squeeze_export.exporters.tflite import exporter as tflite, network as tflite_network
from squeeze_export.sources.source import load_source
from squeeze_export.sources.squeezenet import Fire
from squeeze_export.preprocessing.pixels import pixels; from squeeze_export.preprocessing.spec import spec_for
from tests.tflite_cases import declared, eager, settings

spec = spec_for("torchvision", model="squeezenet1_1")
source = load_source(name="demo", model="squeezenet1_1", weights="demo", seed=0, labels=None, preprocessing=spec)
calibration, others = (np.stack([pixels(demo_image(seed, k)[0], spec) for k in range(12)]) for seed in (1, 2))
wanted = settings("int8", output_kind="logits")
signature, path = declared(source, wanted), Path(sys.argv[1])
network, _ = tflite_network.prepare(source, signature.input)


def built(module, x):
    match module:
        case Fire():
            x = tf.nn.relu(built(module.squeeze, x))
            return tf.concat([tf.nn.relu(built(part, x)) for part in (module.expand1x1, module.expand3x3)], -1)
        case torch.nn.Conv2d():
            padding = "SAME" if module.padding[0] else "VALID"
            filters = module.weight.detach().numpy().transpose(2, 3, 1, 0)
            return tf.nn.bias_add(tf.nn.conv2d(x, filters, module.stride, padding), module.bias.detach().numpy())
        case torch.nn.MaxPool2d():
            return tf.nn.max_pool2d(x, module.kernel_size, module.stride, "SAME" if module.ceil_mode else "VALID")
        case torch.nn.ReLU():
            return tf.nn.relu(x)
        case torch.nn.AdaptiveAvgPool2d():
            return tf.reduce_mean(x, [1, 2])
        case torch.nn.Sequential():
            for part in module:
                x = built(part, x)
            return x
        case torch.nn.Dropout():
            return x
    raise SystemExit(f"unknown: {module}")


@tf.function(input_signature=[tf.TensorSpec(signature.input.shape, tf.float32, name="image")])
def function(image):
    return {"logits": built(network.classifier, built(network.features, image))}


whole = tf.Module()
whole.function = function
tf.saved_model.save(whole, str(path.parent), signatures=function.get_concrete_function())


def fresh():
    return tf.lite.TFLiteConverter.from_saved_model(str(path.parent))


# Both begin with one float file: what is compared is the quantisation, and litert-torch would take longer than all the rest.
tflite._convert = lambda network, spec: bytes(fresh().convert())
tflite.export(source, wanted, path, calibration)
converter = fresh()
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([signature.input.encode(crop[None])] for crop in calibration)
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
theirs = bytes(converter.convert())


def worst(content, crops, reference):
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    errors = []
    for crop, row in zip(crops, reference, strict=True):
        interpreter.set_tensor(given, signature.input.encode(crop[None]))
        interpreter.invoke()
        errors.append(np.abs(interpreter.get_tensor(made)[0] - row).max())
    return float(max(errors))


told = {}
for name, crops in (("calibration", calibration), ("others", others)):
    reference = eager(source, crops)
    told[name] = {
        "peak": float(np.abs(reference).max()),
        "float": float(np.abs(function(signature.input.encode(crops[:1]))["logits"][0] - reference[0]).max()),
        "ours": worst(path.read_bytes(), crops, reference),
        "theirs": worst(theirs, crops, reference),
    }
print(json.dumps(told), flush=True)
os._exit(0)
"""


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="tensorflow is not installed: the extra [onnx-tf] brings it")
def test_the_worst_error_is_no_larger_than_tensorflows_converters(tmp_path):
    """On the pictures of the calibration and on others: nothing clipped, and the mean left in float32."""
    done = subprocess.run(
        [sys.executable, "-c", _BOTH, str(tmp_path / "int8.tflite")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for row in json.loads(done.stdout.splitlines()[-1]).values():
        assert row["float"] < 1e-4 * row["peak"]  # the same network, or the comparison says nothing
        assert 0 < row["theirs"] < 0.1 * row["peak"]  # and theirs is no straw man
        assert 0 < row["ours"] <= row["theirs"]
