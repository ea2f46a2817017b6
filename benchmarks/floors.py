"""What is to be reached, row by row, and what a run reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import figures
from benchmarks.figures import Figure, Spread, ratio, spread, turns_of

Results = dict[str, Any]


@dataclass(frozen=True)
class Floor:
    """One figure that is to be reached."""

    row: int
    what: str
    bound: float
    at_least: bool
    """Otherwise at most."""
    unit: str
    reached: Callable[[Results], Spread]
    """Raises KeyError where the run does not show it."""

    @property
    def wanted(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {_number(self.bound, self.unit)}"

    def met(self, found: Spread) -> bool:
        return found.median >= self.bound if self.at_least else found.median <= self.bound

    def shown(self, found: Spread) -> str:
        """The median, and between what the rounds lay where there were several."""
        middle = _number(found.median, self.unit)
        return middle if found.low == found.high else f"{middle} ({found.low:,.3g} to {found.high:,.3g})"


def _number(value: float, unit: str) -> str:
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text} {unit}" if unit != "x" else f"{text} x"


def _ratio(case: str, one: str, other: str, figure: Figure) -> Callable[[Results], Spread]:
    return lambda results: ratio(turns_of(results, case, one), turns_of(results, case, other), figure)


def _plain(case: str, contender: str, figure: Figure) -> Callable[[Results], Spread]:
    return lambda results: spread(turns_of(results, case, contender), figure)


def _stronger(case: str, one: str, others: tuple[str, ...], figure: Figure) -> Callable[[Results], Spread]:
    """Against whichever of `others` has the higher median: the peer in its best form."""

    def reached(results: Results) -> Spread:
        turns = [turns_of(results, case, other) for other in others if _there(results, case, other)]
        if not turns:
            raise KeyError(others)
        best = max(turns, key=lambda found: spread(found, figure).median)
        return ratio(turns_of(results, case, one), best, figure)

    return reached


def _there(results: Results, case: str, contender: str) -> bool:
    try:
        return bool(turns_of(results, case, contender))
    except KeyError:
        return False


def _cost_of_antialiasing(results: Results) -> Spread:
    kept = _ratio("jpeg", "headrace_tf", "headrace_tf_aliased", _RATE)(results)
    return Spread(*(100 * (1 - value) for value in (kept.median, kept.high, kept.low)))


def _decoded_once(results: Results) -> Spread:
    """Samples made for each that one of the 4 trainers was sent."""
    case = results["cases"]["many"]["contenders"]
    counts = next(team for team in case if team["name"] == "4")["samples"]
    return Spread.of([4 * count["made"] / count["sent"] for count in counts if count.get("sent")])


def _value(case: str, *path: str) -> Callable[[Results], Spread]:
    def reached(results: Results) -> Spread:
        found = results["cases"][case]
        for key in path:
            found = found[key]
        return Spread.of([found])

    return reached


def _rounds(case: str, key: str) -> Callable[[Results], Spread]:
    def reached(results: Results) -> Spread:
        found = [entry[key] for entry in results["cases"][case]["rounds"]]
        if not found:
            raise KeyError(case)
        return Spread.of(found)

    return reached


def _memory(results: Results) -> Spread:
    found = results["cases"]["memory"]
    return Spread.of([100 * found["above_idle_mb"] / found["bound_mb"]])


_RATE = figures.images_per_second
_CPU = figures.cpu_us_per_image
_CPU_GB = figures.cpu_s_per_gigabyte
_SERVICES = ("tf_service", "tf_service_gathered")

FLOORS = (
    Floor(1, "jpeg, to_tf: images/s of the bare two-thread loop", 0.9, True, "x",
          _ratio("jpeg", "headrace_tf", "bare", _RATE)),
    Floor(1, "jpeg, to_tf: images/s of tf.data local", 1.0, True, "x",
          _ratio("jpeg", "headrace_tf", "tf_local", _RATE)),
    Floor(1, "jpeg, to_tf: images/s of tf.data service", 1.6, True, "x",
          _ratio("jpeg", "headrace_tf", "tf_service", _RATE)),
    Floor(2, "jpeg, to_tf: trainer CPU per image", 40, False, "us", _plain("jpeg", "headrace_tf", _CPU)),
    Floor(2, "jpeg, to_tf: trainer CPU of tf.data service's", 1 / 3, False, "x",
          _ratio("jpeg", "headrace_tf", "tf_service", _CPU)),
    Floor(3, "ready, to_tf: bytes/s of the raw sockets'", 0.7, True, "x",
          _ratio("ready", "headrace_tf", "raw", _RATE)),
    Floor(3, "ready, to_tf: bytes/s of tf.data service's, in its best form", 2.2, True, "x",
          _stronger("ready", "headrace_tf", _SERVICES, _RATE)),
    Floor(4, "ready, to_tf: trainer CPU per GB of recv_into's own", 1.4, False, "x",
          _ratio("ready", "headrace_tf", "raw", _CPU_GB)),
    Floor(5, "slow storage: images/s of the same server without latency", 0.9, True, "x",
          _ratio("slow", "headrace_tf_slow", "headrace_tf", _RATE)),
    Floor(6, "large: images/s of decoding in full and the same resize", 4, True, "x",
          _ratio("large", "headrace", "full", _RATE)),
    Floor(6, "large: mean difference from Pillow's antialiased result", 2, False, "levels",
          _value("large", "difference_from_pillow", "mean")),
    Floor(7, "what antialiasing costs of jpeg's images/s", 15, False, "%", _cost_of_antialiasing),
    Floor(8, "many, same plan: images/s of 4 trainers, of one trainer's", 3, True, "x",
          _ratio("many", "4", "1", _RATE)),
    Floor(8, "many, same plan, two batch sizes: images/s of 4 trainers, of one trainer's", 3, True, "x",
          _ratio("many", "sizes", "1", _RATE)),
    Floor(8, "many, same plan: images decoded for each that 4 trainers got", 1.1, False, "x", _decoded_once),
    Floor(9, "cache: images/s of the second epoch, of the first's", 5, True, "x",
          _ratio("cache", "second", "first", _RATE)),
    Floor(10, "wide: the index in memory, a sample", 100, False, "bytes", _value("wide", "index_bytes_per_sample")),
    Floor(10, "wide: start from a saved index", 3, False, "s", _rounds("wide", "start_s")),
    Floor(10, "wide: first batch after connecting", 500, False, "ms", _rounds("wide", "first_batch_ms")),
    Floor(11, "32 stalled streams: memory above idle, of what the options add up to", 115, False, "%", _memory),
    Floor(12, "the server's Python under the interpreter's lock, per image", 40, False, "us",
          _rounds("lock", "held_us")),
)  # fmt: skip
