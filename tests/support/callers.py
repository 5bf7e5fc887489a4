"""Clients on threads of their own that ask without a pause, and note whatever is not as it should be."""

import threading
from collections.abc import Callable
from typing import Any, Self

from .wire import Address, Wire


class Crowd:
    """Works from its beginning to its end: each of `jobs`, a function and whom it is for, on its own thread.

    They go on until `over` is set. `wrong`: what they have noted, and what any of them has ended with.
    """

    def __init__(self, *jobs: tuple[Callable[[Any], None], Any]) -> None:
        self.wrong: list[str] = []
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=job, daemon=True) for job in jobs]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def _run(self, work: Callable[[Any], None], one: Any) -> None:
        try:
            work(one)
        except Exception as error:
            self.wrong.append(f"{one}: {error!r}")


class Callers(Crowd):
    """They connect, ask and leave without a pause; one more for each address stays."""

    def __init__(self, *addresses: Address) -> None:
        super().__init__(*((work, address) for address in addresses for work in (self._call, self._stay)))
        self.calls = 0

    def _call(self, address: Address) -> None:
        while not self.over.is_set():
            with Wire(address, 20) as wire:
                self._ask(wire)

    def _stay(self, address: Address) -> None:
        with Wire(address, 20) as wire:
            while not self.over.is_set():
                self._ask(wire)

    def _ask(self, wire: Wire) -> None:
        reply = wire.ask(b"set k 0 0 1\r\nv\r\n")
        if reply != b"STORED\r\n":
            self.wrong.append(repr(reply))
        self.calls += 1
