"""The running proxy as `magent top` sees it: its readings, its answers, its keys."""

import os
from typing import Final

from memagent.cli.explain import describe, explained
from memagent.cli.migration import in_one_line
from memagent.cli.running import RunningProxy
from memagent.errors import MemagentError
from memagent.questions import Request
from memagent.rates import Reading

_EXPLAIN_S: Final = 1.0


class TopProxy:
    """ControlError in every call while the proxy is not there."""

    def __init__(self, connected: RunningProxy) -> None:
        self._path = connected.path
        self._connected: RunningProxy | None = connected

    def read(self) -> Reading:
        if self._connected is None:
            self._connected = RunningProxy.at(self._path)
        try:
            return Reading(*self._connected.counters())
        except MemagentError:
            self.close()
            raise

    def ask(self, request: Request) -> str:
        """On a connection of its own: `read` has the other one."""
        with RunningProxy.at(self._path) as proxy:
            answer = proxy.ask(request.verb, **request.words)
            if "server" not in answer:
                found = [each for each in proxy.snapshot().migrations if each.pool == request.words["pool"]]
                return "; ".join(map(in_one_line, found))
            server = proxy.server(answer)
        return f"{'backup' if server.backup else 'server'} {server.name} is {server.state}"

    def explain(self, key: str) -> list[str]:
        lines = describe(explained(key, _EXPLAIN_S, None, self._path, None))
        return [os.fsencode(line).decode(errors="backslashreplace") for line in lines]

    def close(self) -> None:
        if self._connected is not None:
            self._connected.close()
            self._connected = None
