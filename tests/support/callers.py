"""Clients that connect and ask without a pause, and note whatever is not as it should be."""

import threading
from collections.abc import Callable

from .wire import Address, Wire


class Callers:
    """They connect, ask and leave without a pause; one more stays. Whatever is no good reply is noted."""

    def __init__(self, *addresses: Address) -> None:
        self.wrong: list[str] = []
        self.calls = 0
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(work, address), daemon=True)
            for address in addresses
            for work in (self._call, self._stay)
        ]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def _run(self, work: Callable[[Address], None], address: Address) -> None:
        try:
            work(address)
        except Exception as error:
            self.wrong.append(f"{address}: {error!r}")

    def _call(self, address: Address) -> None:
        while not self._stop.is_set():
            with Wire(address, 20) as wire:
                self._ask(wire)

    def _stay(self, address: Address) -> None:
        with Wire(address, 20) as wire:
            while not self._stop.is_set():
                self._ask(wire)

    def _ask(self, wire: Wire) -> None:
        reply = wire.ask(b"set k 0 0 1\r\nv\r\n")
        if reply != b"STORED\r\n":
            self.wrong.append(repr(reply))
        self.calls += 1
