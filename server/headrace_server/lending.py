"""Batches that several streams want: each sample is made once, and lent to whoever wants it meanwhile or soon after.

Streams that want the same batch share it. Where batch sizes differ, batches share samples: one that is begun later
copies those that an earlier one has made, or waits for them. Batches that are gathered from arrays are shared only
while they are made.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from .address import Address, EpochKey

if TYPE_CHECKING:
    from .assembly import Assembly


class Place(NamedTuple):
    """A sample's place in a batch that has it, or will have it."""

    lender: Assembly
    row: int


class Lending:
    """The batches in the making, and those made last, up to a number of bytes. Safe to use from many threads."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._assemblies: dict[Address, Assembly] = {}
        self._users: dict[Assembly, int] = defaultdict(int)
        self._places: dict[EpochKey, dict[int, Place]] = defaultdict(dict)
        self._streams: Counter[EpochKey] = Counter()
        self._kept: OrderedDict[Assembly, int] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def join(self, key: EpochKey) -> None:
        """A stream of an epoch is open: batches of it are kept for a while after they were made."""
        with self._lock:
            self._streams[key] += 1

    def leave(self, key: EpochKey) -> None:
        """A stream is closed; with the last of an epoch goes all that was kept of it."""
        with self._lock:
            self._streams[key] -= 1
            if not self._streams[key]:
                del self._streams[key]
                for assembly in [kept for kept in self._kept if kept.address.epoch_key == key]:
                    self._forget(assembly)

    def get(self, address: Address, make: Callable[[], Assembly]) -> tuple[Assembly, bool]:
        """The batch at an address, and whether it is new, made by `make`. Whoever gets it must `release` it."""
        with self._lock:
            assembly = self._assemblies.get(address)
            new = assembly is None
            if assembly is None:
                assembly = self._assemblies[address] = make()
                if address.plan.gather is None:  # making a sample again costs no more than copying it otherwise
                    places = self._places[address.epoch_key]
                    for row, position in enumerate(range(address.start, address.stop)):
                        places.setdefault(position, Place(assembly, row))
            elif assembly in self._kept:
                self._kept.move_to_end(assembly)
            self._users[assembly] += 1
            return assembly, new

    def release(self, assembly: Assembly) -> None:
        """One user less. A batch that nobody wants any more, and that has lent nothing, is dropped at once."""
        with self._lock:
            self._users[assembly] -= 1
            if not self._users[assembly]:
                del self._users[assembly]
                if not assembly.done and assembly.cancel():
                    self._forget(assembly)

    def places(self, address: Address) -> list[Place | None]:
        """For each position of a batch, where else its sample is, or is being made."""
        with self._lock:
            found = self._places.get(address.epoch_key, {})
            places = [found.get(position) for position in range(address.start, address.stop)]
        own = (address,)  # `in` looks first whether it is the same object, which it is nearly always
        return [None if place is None or place.lender.address in own else place for place in places]

    def finished(self, assembly: Assembly) -> None:
        """Keeps a batch that was made for a while; forgets one that failed, since another moment may do better."""
        with self._lock:
            address = assembly.address
            cheap = address.plan.gather is not None
            if assembly.frame is None or cheap or address.epoch_key not in self._streams:
                self._forget(assembly)
                return
            self._kept[assembly] = assembly.frame.nbytes
            self._kept_bytes += assembly.frame.nbytes
            while self._kept_bytes > self._most_bytes:
                self._forget(next(iter(self._kept)))

    def _forget(self, assembly: Assembly) -> None:
        self._kept_bytes -= self._kept.pop(assembly, 0)
        address = assembly.address
        if self._assemblies.get(address) is assembly:
            del self._assemblies[address]
        places = self._places.get(address.epoch_key)
        if places is None:
            return
        for position in range(address.start, address.stop):
            if position in places and places[position].lender is assembly:
                del places[position]
        if not places:
            del self._places[address.epoch_key]
