"""What a benchmark is, and running its parts in alternated rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import msgspec

Figures = Mapping[str, float]


class Stage(msgspec.Struct, frozen=True):
    """Where and how much a part measures.

    Attributes:
        folder: empty, for this part of this round alone.
        home: the workload's own folder, kept from round to round.
        size: 1 for a full run; less measures fewer messages.
    """

    folder: Path
    home: Path
    size: float = 1.0

    def count(self, full: int) -> int:
        """How many messages where a full run has `full`: whole batches of a hundred, at least five."""
        return max(500, int(full * self.size) // 100 * 100)

    def url(self, name: str = "box") -> str:
        """A message box in the part's own folder."""
        return f"sqlite:///{self.folder / name}.db"


class Target(msgspec.Struct, frozen=True):
    """A promise about the figures of one round; what is judged is the median over all rounds.

    `value` makes one number of a round's figures; `unit` is what stands behind it, as ``×`` for a ratio.
    """

    says: str
    value: Callable[[Figures], float]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "×"

    def holds(self, value: float) -> bool:
        """Whether `value` is good enough."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """Parts that are measured in turn, and what is asked of their figures.

    Attributes:
        name: how ``--only`` calls it.
        title: what it measures, in one line.
        parts: functions that measure one thing and return its figures, by name.
        units: the unit of each figure.
        targets: what is asked.
    """

    name: str
    title: str
    parts: Sequence[Callable[[Stage], Figures]]
    units: Mapping[str, str]
    targets: Sequence[Target]


class Measured(msgspec.Struct, frozen=True):
    """All rounds of a workload."""

    workload: Workload
    rounds: Sequence[Figures]

    def of(self, figure: str) -> Spread:
        """A figure over all rounds."""
        return spread([figures[figure] for figures in self.rounds])

    def value(self, target: Target) -> Spread:
        """A target's number over all rounds."""
        return spread([target.value(figures) for figures in self.rounds])


class Spread(msgspec.Struct, frozen=True):
    """The median of several rounds, and how far they lie apart."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    return Spread(median(values), min(values), max(values))


def measure(workload: Workload, *, rounds: int, size: float, progress: Callable[[str], object]) -> Measured:
    """Run all parts of a workload `rounds` times, in turn, every other round backwards."""
    measured: list[Figures] = []
    with TemporaryDirectory(prefix="pabal-bench-") as home:
        for number in range(rounds):
            figures: dict[str, float] = {}
            for part in workload.parts[:: -1 if number % 2 else 1]:
                progress(f"{workload.name}: round {number + 1} of {rounds}, {part.__name__.replace('_', ' ')}")
                with TemporaryDirectory(prefix="part-", dir=home) as folder:
                    figures.update(part(Stage(Path(folder), Path(home), size)))
            measured.append(figures)
    return Measured(workload, measured)
