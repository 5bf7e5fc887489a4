"""What happened to a key and to the servers, kept for the day when a reply is wrong."""

import time
from collections import deque
from dataclasses import dataclass, field

KEPT = 400
NEVER_ENDED = float("inf")

LOST = "(connection lost)"
"""In place of a reply, where the client's worker was killed."""

READS = ("get", "gets")

SHOWN_S = 2.0
"""So much before a wrong reply is shown whole,"""
SHOWN_BEFORE = 6
"""of what was before that the last requests"""
SHOWN_WRITES = 4
"""and writes,"""
SHOWN_FAULTS_S = 6.0
"""and the faults of so much."""


@dataclass(eq=False, slots=True)
class Op:
    """One request about one key, as the client saw it."""

    verb: str
    text: str
    client: str
    begun: float
    ended: float = NEVER_ENDED
    reply: str = "..."
    form: str = ""
    """How it was said, where it was not said in classic words."""

    @property
    def worker(self) -> int:
        """Who served it; 0 if that is not known."""
        pid = self.client.rpartition("@")[2]
        return int(pid) if pid.isdigit() else 0

    def __str__(self) -> str:
        return f"{self.client:<24} {self.form}{self.verb} {self.text} -> {self.reply}"


@dataclass(slots=True)
class Event:
    """Something that was done to a server or to the proxy (`who`), or was said of it."""

    at: float
    who: str
    text: str

    def __str__(self) -> str:
        return f"{self.who}: {self.text}"


@dataclass
class Events:
    """Faults, and what the proxy said of its servers. Times are monotonic seconds."""

    start: float = field(default_factory=time.monotonic)
    lines: list[Event] = field(default_factory=list)

    def add(self, who: str, text: str, now: float | None = None) -> None:
        self.lines.append(Event(time.monotonic() if now is None else now, who, text))

    def at(self, moment: float) -> str:
        return f"{moment - self.start:9.4f}"

    def render(self, since: float, until: float = NEVER_ENDED) -> str:
        return "\n".join(f"** {self.at(each.at)} {each}" for each in self.lines if since <= each.at <= until)


@dataclass
class History:
    """The last requests about one key."""

    key: str
    owner: str
    copy: str
    ops: deque[Op] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, op: Op) -> Op:
        self.ops.append(op)
        return op

    def render(self, events: Events, wrong: Op | None = None) -> str:
        """Requests by the time when they were sent, with what befell the key's holders and the proxy.

        The last `SHOWN_S` before the wrong reply, or before the last request where no reply was wrong; of the
        earlier ones some, the last writes and those of the value that was read. The wrong one is marked.
        """
        end = _over(wrong) if wrong is not None else max((_over(op) for op in self.ops), default=events.start)
        since = end - SHOWN_S
        earlier = [op for op in self.ops if _over(op) < since]
        writes = [op for op in earlier if op.verb not in READS]
        witnesses = [op for op in writes if wrong is not None and op.text.startswith(wrong.reply)]
        chosen = set(earlier[-SHOWN_BEFORE:] + writes[-SHOWN_WRITES:] + witnesses)
        shown = [op for op in self.ops if op in chosen or _over(op) >= since]
        first = min((op.begun for op in shown), default=since)
        rows = [
            (op.begun, f"{'>>' if op is wrong else '  '} {events.at(op.begun)} {_moment(events, op)}  {op}")
            for op in shown
        ]
        rows += [
            (each.at, f"** {events.at(each.at)} {each}")
            for each in events.lines
            if each.at >= min(since - SHOWN_FAULTS_S, first) and each.who in (self.owner, self.copy, "proxy")
        ]
        rows.sort(key=lambda row: row[0])
        head = f"key {self.key}, owner {self.owner}, copy {self.copy}"
        head += (
            f"; {len(self.ops) - len(shown)} earlier requests are not shown"
            if len(self.ops) > len(shown)
            else ""
        )
        return "\n".join([head, "          sent  answered  client@worker", *(row for _, row in rows)])


def _over(op: Op) -> float:
    return op.begun if op.ended == NEVER_ENDED else op.ended


def _moment(events: Events, op: Op) -> str:
    return "under way" if op.ended == NEVER_ENDED else events.at(op.ended)
