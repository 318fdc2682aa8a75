"""One evaluation on its way: which subject has answered for which image, and what follows from the answers."""

from __future__ import annotations

import queue
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from squeeze_export.errors import TargetUnavailableError, UsageError
from squeeze_export.evaluation.cache import AnswerCache, answer_key
from squeeze_export.evaluation.crew import Answered, Chunk, Crew, Gone, Opened
from squeeze_export.evaluation.images import ImageSet, crop_of, image_key, images_digest
from squeeze_export.evaluation.report import (
    Accuracy,
    ArtifactRow,
    Evaluation,
    ReferenceRow,
    Status,
    UnreadableImage,
    accuracy_of,
    comparison_of,
)
from squeeze_export.evaluation.subjects import REFERENCE, Subject
from squeeze_export.validation.accuracy import TOP
from squeeze_export.validation.standing import standing_of

if TYPE_CHECKING:
    from squeeze_export.contracts.arrays import Array, PixelArray
    from squeeze_export.contracts.signature import PreprocessingSpec
    from squeeze_export.evaluation.jobs import Lost
    from squeeze_export.validation.accuracy import ClassArray

# Pictures travel in chunks: small enough to lose little and to show progress, large enough that talk costs nothing.
_CHUNK_IMAGES: Final = 8
_CHUNK_BYTES: Final = 4 * 2**20
_WINDOW_BYTES: Final = 128 * 2**20


class Watcher(Protocol):
    """Is told how an evaluation goes; the screen draws it, a program may ignore it."""

    def notice(self, text: str) -> None:
        """A fact that the user must know."""
        ...

    def begin(self, subject: str, known: int, total: int) -> None:
        """`subject` (an artifact's path, or "reference") has `known` of `total` images from the cache."""
        ...

    def advance(self, subject: str, count: int) -> None:
        """`count` more images are done."""
        ...

    def end(self, subject: str, status: Status) -> None:
        """`subject` will advance no further."""
        ...


@dataclass
class Course:
    """One subject on its way: `tops` (N, k), -1 where there is no answer yet."""

    subject: Subject
    tops: Array
    cached: int
    executor: str | None = None
    lost: Lost | None = None
    place: int | None = None
    log: str = ""
    opened: bool = False
    ended: bool = False
    remaining: int = 0
    outstanding: set[int] = field(default_factory=set)

    def lacks(self, place: int) -> bool:
        return bool(self.tops[place, 0] < 0)


class Run:
    """The state of one evaluation: which subject has answered for which image."""

    def __init__(
        self,
        images: ImageSet,
        subjects: Sequence[Subject],
        spec: PreprocessingSpec,
        num_classes: int,
        cache: AnswerCache,
        pool: ThreadPoolExecutor,
        workers: int,
        watcher: Watcher,
    ) -> None:
        import numpy as np

        self._images = images
        self._spec = spec
        self._num_classes = num_classes
        self._cache = cache
        self._pool = pool
        self._workers = workers
        self._watcher = watcher
        count = len(images.images)
        self._keys: list[bytes | None] = [None] * count
        self._unreadable: dict[int, str] = {}
        width = min(TOP, num_classes)
        self._courses = {
            subject.name: Course(subject=subject, tops=np.full((count, width), -1, np.int32), cached=0) for subject in subjects
        }

    def look_up(self) -> None:
        """Take over what the cache knows."""
        keys = self._pool.map(image_key, self._images.images)
        for place, key in enumerate(keys):
            if isinstance(key, str):
                self._unreadable[place] = key
            else:
                self._keys[place] = key
        places = [place for place, key in enumerate(self._keys) if key is not None]
        for name, course in self._courses.items():
            answers = self._cache.get([self._answer_key(course, place) for place in places])
            for place, answer in zip(places, answers, strict=True):
                if answer is not None and len(answer) == course.tops.shape[1]:
                    course.tops[place] = answer
                    course.cached += 1
            course.remaining = len(places) - course.cached
            (executor,) = self._cache.get([self._executor_key(course)])
            course.executor = bytes(executor).decode() if executor else None
            self._watcher.begin(name, course.cached, len(places))

    def compute(self, command: Sequence[str]) -> None:
        """Run the images that a subject lacks through its workers."""
        jobs = {
            name: course.subject.job
            for name, course in self._courses.items()
            if course.subject.unavailable is None and (course.subject.must_open or course.remaining)
        }
        if jobs:
            events: queue.SimpleQueue[object] = queue.SimpleQueue()
            with tempfile.TemporaryDirectory(prefix="squeeze-export-") as scratch:
                crew = Crew(Path(scratch), jobs, slots=self._workers, tell=events, command=command)
                try:
                    self._drive(crew, [self._courses[name] for name in jobs], events)
                finally:
                    crew.stop()
        for course in self._courses.values():
            self._end(course)

    def _drive(self, crew: Crew, courses: Sequence[Course], events: queue.SimpleQueue[object]) -> None:
        """Decode chunk after chunk, hand each to the subjects that lack it, and take their answers, until all is done."""
        size = self._spec.height * self._spec.width * 3
        length = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // size))
        window = max(2 + self._workers, _WINDOW_BYTES // (length * size))
        wanted = [place for place, key in enumerate(self._keys) if key and any(course.lacks(place) for course in courses)]
        chunks = [tuple(wanted[start : start + length]) for start in range(0, len(wanted), length)]
        begun, decoding = 0, 0
        while True:
            for course in courses:
                if course.lost is not None or (course.opened and not course.remaining):
                    self._end(course)
            in_flight = decoding + len(set().union(*(course.outstanding for course in courses)))
            while begun < len(chunks) and in_flight < window and any(course.lost is None for course in courses):
                future = self._pool.submit(self._decode, begun, chunks[begun])
                future.add_done_callback(events.put)
                begun, decoding, in_flight = begun + 1, decoding + 1, in_flight + 1
            alive = [course for course in courses if course.lost is None]
            if not decoding and not any(course.outstanding or not course.opened for course in alive):
                return
            event = events.get()
            match event:
                case Future():
                    decoding -= 1
                    self._hand_out(crew, alive, event.result())
                case Opened():
                    course = self._courses[event.subject]
                    course.opened, course.executor = True, event.executor
                    self._cache.put(self._executor_key(course), event.executor.encode())
                case Answered():
                    self._take(self._courses[event.subject], event)
                    crew.reinforce({course.subject.name: course.remaining for course in alive})
                case Gone():
                    course = self._courses[event.subject]
                    course.lost, course.place = event.lost, event.place
                    course.log = f"{event.log}\n{event.lost.traceback}".strip()
                    course.outstanding.clear()
                    if course.subject.fatal and event.place is None:
                        raise event.lost.revive()

    def _end(self, course: Course) -> None:
        if not course.ended:
            course.ended = True
            self._watcher.end(course.subject.name, _status(course))

    def _decode(self, number: int, places: tuple[int, ...]) -> tuple[int, dict[int, PixelArray | str]]:
        found: dict[int, PixelArray | str] = {}
        for place in places:
            try:
                found[place] = crop_of(self._images.images[place], self._spec)
            except UsageError as error:
                found[place] = str(error)
        return number, found

    def _hand_out(self, crew: Crew, courses: Sequence[Course], decoded: tuple[int, dict[int, PixelArray | str]]) -> None:
        import numpy as np

        number, found = decoded
        crops: dict[int, PixelArray] = {}
        for place, crop in found.items():
            if isinstance(crop, str):
                self._unreadable[place] = crop
                self._keys[place] = None
                for course in self._courses.values():
                    course.remaining -= course.lacks(place)
            else:
                crops[place] = crop
        chunks: dict[tuple[int, ...], Chunk] = {}  # mostly all subjects lack the same images: one copy serves them
        for course in courses:
            places = tuple(place for place in crops if course.lacks(place))
            if not places:
                continue
            if places not in chunks:
                chunks[places] = Chunk(number=number, places=places, crops=np.stack([crops[place] for place in places]))
            course.outstanding.add(number)
            crew.give(course.subject.name, chunks[places])

    def _take(self, course: Course, event: Answered) -> None:
        if len(event.tops) == len(event.chunk.places):  # of a chunk that was cut short, Gone is still to come
            course.outstanding.discard(event.chunk.number)
        for place, top in zip(event.chunk.places, event.tops, strict=False):
            course.tops[place] = top
            course.remaining -= 1
            self._cache.put(self._answer_key(course, place), top)
        self._watcher.advance(course.subject.name, len(event.tops))

    def _answer_key(self, course: Course, place: int) -> bytes:
        key = self._keys[place]
        assert key is not None
        return answer_key(course.subject.key, key)

    def _executor_key(self, course: Course) -> bytes:
        """Where the cache keeps who computed: answers that are all known start no process that could say it."""
        return answer_key(course.subject.key, b"executor")

    def report(
        self, name: str, source: str, reference: Subject | str | None, notices: tuple[str, ...], names: tuple[str, ...] | None
    ) -> Evaluation:
        """Judge the answers; `names`: the labels in class order. UsageError where no image at all could be read."""
        import numpy as np

        readable = [place for place, key in enumerate(self._keys) if key is not None]
        unreadable = tuple(
            UnreadableImage(name=self._images.images[place].name, reason=self._unreadable[place])
            for place in sorted(self._unreadable)
        )
        if not readable:
            raise UsageError(f"None of the {len(unreadable)} images in {source} could be read. The first: {unreadable[0].reason}")
        known = [self._images.images[place].label for place in readable]
        labels = np.asarray(known, np.int32) if self._images.labelled else None
        told = self._reference_row(reference, readable, labels)
        stands = None
        if labels is not None and told.status == "MEASURED":
            stands = standing_of(self._courses[REFERENCE].tops[readable][:, 0], labels, self._num_classes, names)
        rows = []
        for key, course in self._courses.items():
            if key == REFERENCE:
                continue
            row = self._artifact_row(course, readable, labels)
            if row.status == "MEASURED" and told.status == "MEASURED":
                both = course.tops[readable], self._courses[REFERENCE].tops[readable]
                row = replace(row, comparison=comparison_of(*both, labels, self._num_classes))
            rows.append(row)
        return Evaluation(
            name=name,
            source=source,
            images=len(readable),
            unreadable=unreadable,
            missing=self._images.missing,
            passed_over=self._images.passed_over,
            reference=told,
            artifacts=tuple(rows),
            notices=notices,
            logs={name: course.log for name, course in self._courses.items() if course.log},
            labelled=self._images.labelled,
            images_sha256=images_digest(
                (key, label) for key, label in zip((self._keys[place] for place in readable), known, strict=True) if key
            ),
            standing=stands,
        )

    def _reference_row(self, reference: Subject | str | None, readable: list[int], labels: ClassArray | None) -> ReferenceRow:
        if not isinstance(reference, Subject):
            reason = "--no-reference" if reference is None else reference
            return ReferenceRow(status="NOT_RUN", reason=reason, waived=reference is None, executor=None, accuracy=None, cached=0)
        course = self._courses[REFERENCE]
        if course.lost is not None:
            return ReferenceRow(
                status="NOT_RUN", reason=self._why(course), waived=False, executor=course.executor, accuracy=None, cached=0
            )
        return ReferenceRow(
            status="MEASURED",
            reason=None,
            waived=False,
            executor=course.executor or course.subject.executor,
            accuracy=self._accuracy(course, readable, labels),
            cached=course.cached,
        )

    def _artifact_row(self, course: Course, readable: list[int], labels: ClassArray | None) -> ArtifactRow:
        record = course.subject.record
        assert record is not None
        row = ArtifactRow(
            target=record.target,
            precision=record.precision,
            size_budget=record.size_budget,
            path=record.path,
            status=_status(course),
            reason=None,
            exit_code=0,
            executor=course.executor or course.subject.executor,
            accuracy=None,
            comparison=None,
            cached=course.cached,
        )
        if course.subject.unavailable is not None:
            return replace(row, reason=course.subject.unavailable, exit_code=TargetUnavailableError.exit_code)
        if course.lost is not None:
            return replace(row, reason=self._why(course), exit_code=course.lost.revive().exit_code)
        return replace(row, accuracy=self._accuracy(course, readable, labels))

    def _accuracy(self, course: Course, readable: list[int], labels: ClassArray | None) -> Accuracy | None:
        return None if labels is None else accuracy_of(course.tops[readable], labels, self._num_classes)

    def _why(self, course: Course) -> str:
        assert course.lost is not None
        where = "" if course.place is None else f" It was at {self._images.images[course.place].name}."
        return course.lost.message + where


def _status(course: Course) -> Status:
    if course.subject.unavailable is not None:
        return "NOT_RUN"
    if course.lost is not None:
        return "NOT_RUN" if course.subject.record is None or course.lost.error in _NOT_RUN else "FAILED"
    return "MEASURED"


_NOT_RUN: Final = ("TargetUnavailableError", "UnsupportedOperationError")
