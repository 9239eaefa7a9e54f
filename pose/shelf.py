"""Records that wait to be written: a few in memory, many in a file that is gone with the process."""

from collections.abc import Sequence
from tempfile import SpooledTemporaryFile
from typing import Any, Generic, TypeVar, overload
from weakref import finalize

import numpy as np

from gaitreid.pose.arrays import Record, scalars, specs

R = TypeVar("R", bound=Record)
IN_MEMORY = 2**24  # bytes; from there on they lie in a file


class Shelf(Sequence[R], Generic[R]):
    """Records in the order in which they came, or `by` another one; each is read when it is asked for."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed when nobody has it any more
        self._owner: Shelf[R] | None = None
        finalize(self, self._file.close)
        self._places: list[int] = []
        self._kinds: list[tuple[type[R], dict[str, Any]]] = []  # of each record: its class, and what is no array

    def put(self, record: R) -> None:
        """One more."""
        self._file.seek(0, 2)
        self._places.append(self._file.tell())
        for name, _ in specs(type(record)):
            np.save(self._file, getattr(record, name), allow_pickle=False)
        self._kinds.append((type(record), {field.name: getattr(record, field.name) for field in scalars(type(record))}))

    def by(self, order: Sequence[int]) -> "Shelf[R]":
        """The same records, those at these places in this order."""
        result = Shelf[R].__new__(Shelf)
        result._file, result._owner = self._file, self._owner or self
        result._places = [self._places[place] for place in order]
        result._kinds = [self._kinds[place] for place in order]
        return result

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> R: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[R]: ...
    def __getitem__(self, place: int | slice) -> R | Sequence[R]:
        if isinstance(place, slice):
            return self.by(range(len(self))[place])
        self._file.seek(self._places[place])
        kind, others = self._kinds[place]
        arrays = {name: np.load(self._file, allow_pickle=False) for name, _ in specs(kind)}
        return kind(**arrays, **others)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)
