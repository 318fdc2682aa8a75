"""Measure weights on demo pictures: characters of fonts that no training picture showed, through the deployment preprocessing.

python training/evaluate_demo.py --weights src/squeeze_export/demo/data/squeezenet1_1_demo.safetensors --count 6800
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from squeeze_export.demo import characters

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def pixels(index: int, seed: int) -> Any:
    """Demo picture `index` after the default preprocessing's resize and crop, (224, 224, 3) uint8.

    Written out again on purpose: a measurement that borrows the package's own preprocessing would also borrow its mistakes.
    """
    picture, _ = characters.demo_image(seed, index)
    short = min(picture.size)
    picture = picture.resize((int(256 * picture.width / short), int(256 * picture.height / short)), 2)
    left, top = round((picture.width - 224) / 2), round((picture.height - 224) / 2)
    return np.asarray(picture.crop((left, top, left + 224, top + 224)))


def measure(weights: Path, *, seed: int, count: int, batch: int = 34, errors: Path | None = None) -> dict[str, Any]:
    """Top-1 and top-5 over pictures 0 to count - 1 of demo set `seed`, and what went wrong; `errors`: folder for misread ones."""
    import torch
    from safetensors.torch import load_file

    from squeeze_export.sources.squeezenet import SqueezeNet

    network = SqueezeNet("squeezenet1_1", len(characters.CHARACTERS))
    network.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
    network.eval()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    hits, hits5, misread = 0, 0, []
    faces = characters.faces()
    per_family: Counter[str] = Counter()
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as workers, torch.inference_mode():
        ready: list[Any] = []
        for index, crop in enumerate(workers.imap(partial(pixels, seed=seed), range(count), chunksize=batch)):
            ready.append(crop)
            if len(ready) < batch and index + 1 < count:
                continue
            values = (np.stack(ready).astype(np.float32) / 255 - MEAN) / STD
            scores = network(torch.from_numpy(values.transpose(0, 3, 1, 2)).to(device)).cpu().numpy()
            for offset, row in enumerate(scores):
                number = index + 1 - len(ready) + offset
                label, order = number % len(characters.CHARACTERS), np.argsort(-row, kind="stable")
                hits += int(order[0] == label)
                hits5 += int(label in order[:5])
                if order[0] != label:
                    family = faces[characters.face_of(seed, number)].family
                    per_family[family] += 1
                    read = {"index": number, "character": characters.CHARACTERS[label], "read": characters.CHARACTERS[order[0]]}
                    misread.append({**read, "font": f"{family} ({faces[characters.face_of(seed, number)].style})"})
                    if errors is not None:
                        from PIL import Image

                        errors.mkdir(parents=True, exist_ok=True)
                        Image.fromarray(ready[offset]).save(errors / f"{number}-{read['character']}-read-{read['read']}.png")
            ready = []
    wrong = Counter(m["character"] for m in misread)
    totals = Counter(characters.CHARACTERS[i % len(characters.CHARACTERS)] for i in range(count))
    return {
        "images": count,
        "seed": seed,
        "top1": hits / count,
        "top5": hits5 / count,
        "interval": interval(hits, count),
        "worst_characters": [(c, 1 - n / totals[c]) for c, n in wrong.most_common(8)],
        "confusions": [
            (f"{a} read as {b}", n) for (a, b), n in Counter((m["character"], m["read"]) for m in misread).most_common(12)
        ],
        "errors_per_family": dict(per_family.most_common()),
        "misread": misread,
    }


def interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion."""
    z, share = 1.959964, hits / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return (round(centre - half, 4), round(centre + half, 4))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=characters.WEIGHTS)
    parser.add_argument("--seed", type=int, default=0, help="demo set (default: %(default)s)")
    parser.add_argument("--count", type=int, default=2040, help="pictures (default: %(default)s)")
    parser.add_argument("--errors", type=Path, metavar="DIR", help="save the misread pictures there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there")
    arguments = parser.parse_args()
    metrics = measure(arguments.weights, seed=arguments.seed, count=arguments.count, errors=arguments.errors)
    if arguments.json:
        arguments.json.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    low, high = metrics["interval"]
    top1, top5 = 100 * metrics["top1"], 100 * metrics["top5"]
    print(f"top-1 {top1:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f}), top-5 {top5:.2f} %")
    print("worst:", ", ".join(f"{c} {100 * share:.1f} %" for c, share in metrics["worst_characters"]))
    print("confusions:", ", ".join(f"{name} x{n}" for name, n in metrics["confusions"]))
    print("errors per font:", metrics["errors_per_family"])


if __name__ == "__main__":
    main()
