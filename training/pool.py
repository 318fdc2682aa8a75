"""A pool of rendered training pictures on disk: made once by all cores, then read by every epoch."""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from squeeze_export.demo import characters, scene

if TYPE_CHECKING:
    from pathlib import Path

CHUNK: Final = 256
SALT: Final = 7791  # keeps these pictures apart from every demo_image, whose random numbers start from (seed, index)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """`pictures`: (count, size, size, 3) uint8 on disk. `labels`: (count,) int64."""

    pictures: Any
    labels: Any

    def batch(self, indices: Any) -> tuple[Any, Any]:
        """The chosen pictures, copied into memory, and their classes."""
        return self.pictures[np.sort(indices)], self.labels[np.sort(indices)]


def make_pool(folder: Path, *, size: int, count: int, seed: int) -> None:
    """Render what is missing of the pool; what a stopped run left is kept."""
    from fonts import train_faces

    train_faces()  # cut the outlines before the workers all want them
    path = folder / f"pool-{size}-{count}-{seed}.npy"
    done = folder / f"pool-{size}-{count}-{seed}.done"
    shape = (count, size, size, 3)
    if not path.exists():
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
        done.write_text("", encoding="utf-8")
    finished = {int(line) for line in done.read_text(encoding="utf-8").split()}
    jobs = [
        (str(path), size, seed, start, min(start + CHUNK, count)) for start in range(0, count, CHUNK) if start not in finished
    ]
    if jobs:
        started, before = time.monotonic(), len(finished)
        # spawn: a fork of a process that already runs torch's threads may hang.
        with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as workers, done.open("a", encoding="utf-8") as log:
            for number, start in enumerate(workers.imap_unordered(_render, jobs), start=1):
                log.write(f"{start}\n")
                log.flush()
                if number % 10 == 0 or number == len(jobs):
                    seconds = time.monotonic() - started
                    print(f"pool of {size} px: {before + number}/{before + len(jobs)} chunks, {seconds:.0f} s", flush=True)


def open_pool(folder: Path, *, size: int, count: int, seed: int) -> Pool:
    """A pool that make_pool has finished."""
    pictures = np.load(folder / f"pool-{size}-{count}-{seed}.npy", mmap_mode="r")
    return Pool(pictures=pictures, labels=np.array([_draw(size, seed, i)[0] for i in range(count)], np.int64))


def _draw(size: int, seed: int, index: int) -> tuple[int, np.random.Generator]:
    """The class of one training picture and the random numbers for the rest of it, other than any demo_image's."""
    rng = np.random.default_rng([seed, SALT + size, index])
    return int(rng.integers(len(characters.CHARACTERS))), rng


@cache
def _designs() -> tuple[tuple[characters.Face, ...], ...]:
    from fonts import train_faces

    groups: dict[str, list[characters.Face]] = {}
    for face in train_faces():
        groups.setdefault(face.family, []).append(face)
    return tuple(tuple(group) for group in groups.values())


def _render(job: tuple[str, int, int, int, int]) -> int:
    path, size, seed, start, stop = job
    pictures = np.load(path, mmap_mode="r+")
    designs = _designs()
    for index in range(start, stop):
        label, rng = _draw(size, seed, index)
        # Designs are equally likely, whatever the number of their styles.
        design = designs[int(rng.integers(len(designs)))]
        face = design[int(rng.integers(len(design)))]
        pictures[index] = np.asarray(scene.render(rng, face.glyphs[characters.CHARACTERS[label]], size, size))
    pictures.flush()
    return start
