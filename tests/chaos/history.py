"""What happened to a key and to the servers, kept for the day when a reply is wrong."""

import time
from collections import deque
from dataclasses import dataclass, field

KEPT = 400
NEVER_ENDED = float("inf")


@dataclass(eq=False, slots=True)
class Op:
    """One request about one key, as the client saw it."""

    verb: str
    text: str
    client: str
    begun: float
    ended: float = NEVER_ENDED
    reply: str = "..."

    def __str__(self) -> str:
        took = "under way" if self.ended == NEVER_ENDED else f"{(self.ended - self.begun) * 1000:7.1f} ms"
        return f"{self.client:>10}  {took:>11}  {self.verb} {self.text} -> {self.reply}"


@dataclass
class Events:
    """Faults, and what the proxy said of its servers. Times are monotonic seconds."""

    start: float = field(default_factory=time.monotonic)
    lines: list[tuple[float, str]] = field(default_factory=list)

    def add(self, text: str, now: float | None = None) -> None:
        self.lines.append((time.monotonic() if now is None else now, text))

    def at(self, moment: float) -> str:
        return f"{moment - self.start:9.4f}"


@dataclass
class History:
    """The last requests about one key."""

    key: str
    where: str
    ops: deque[Op] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, op: Op) -> Op:
        self.ops.append(op)
        return op

    def render(self, events: Events, wrong: Op | None = None) -> str:
        """Requests by the time when they began, with the faults among them; the wrong one has a mark."""
        rows = [(op.begun, ">>" if op is wrong else "  ", str(op)) for op in self.ops]
        since = min((row[0] for row in rows), default=events.start)
        rows += [(at, "**", text) for at, text in events.lines if at >= since - 10]
        rows.sort(key=lambda row: row[0])
        lines = [f"{mark} {events.at(at)}  {text}" for at, mark, text in rows]
        return f"key {self.key} on {self.where}\n" + "\n".join(lines)
