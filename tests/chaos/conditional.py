"""Counters, locks and logs: what conditional verbs may answer. See `models` for what becomes of a write."""

from dataclasses import dataclass

from tests.chaos.history import LOST, Op
from tests.chaos.holders import NEVER, Pair
from tests.chaos.models import FORGET_S, Model, Report


@dataclass(eq=False, slots=True)
class Step:
    """One addition to a counter."""

    amount: int
    op: Op
    result: int | None = None
    is_done: bool = False
    is_void: bool = False


class Counter(Model):
    """add (once), incr, decr, get. Every result is the sum of what was added before."""

    kind = "counter"

    def __init__(self, key: bytes, pair: Pair, report: Report, first: int) -> None:
        super().__init__(key, pair, report)
        self.first = first
        self.steps: list[Step] = []
        self.is_lost = False
        """It may legally be gone, or may have been made anew: not to be used any more."""

    def created(self, op: Op, now: float) -> None:
        self.end(op, "STORED", now)
        self.keeping.acknowledged(op.begun, now)

    def flush_begins(self, client: str, now: float) -> Op:
        self.is_lost = True
        return super().flush_begins(client, now)

    def begin_step(self, amount: int, client: str, now: float) -> Step:
        verb = "incr" if amount > 0 else "decr"
        step = Step(amount, self.begin(verb, str(abs(amount)), client, now))
        self.steps.append(step)
        return step

    def stepped(self, step: Step, result: int, now: float) -> None:
        self.end(step.op, str(result), now)
        step.result, step.is_done = result, True
        self.settles(step.op)
        self.keeping.acknowledged(step.op.begun, now)
        self._judge(step.op, result, now, own=step)

    def failed(self, step: Step, reply: str, now: float) -> None:
        """NOT_FOUND, or an error."""
        self.end(step.op, reply, now)
        if reply == "NOT_FOUND":
            step.is_void = True
            self.is_lost = self.is_lost or self.judge_miss(step.op, now)
            return
        self.judge_error(step.op, reply, now, repeatable=False)
        if not self.pair.any_sound(step.op.begun):
            self.is_lost = True

    def read(self, op: Op, value: int | None, now: float) -> None:
        self.end(op, "miss" if value is None else str(value), now)
        if value is None:
            self.is_lost = self.is_lost or self.judge_miss(op, now)
        else:
            self._judge(op, value, now)

    def _judge(self, op: Op, value: int, now: float, own: Step | None = None) -> None:
        """Against the sum of all steps, and against each recent result that was there before."""
        if self.is_lost:
            return
        low, high = self._range_from(self.first, None, op, own)
        self._compare(value, low, high, "from the start", op, now)
        for anchor in self.steps[-24:]:
            if anchor.is_done and anchor is not own and anchor.op.ended < op.begun:
                assert anchor.result is not None
                low, high = self._range_from(anchor.result, anchor, op, own)
                self._compare(value, low, high, f"after {anchor.op.text} -> {anchor.result}", op, now)

    def _compare(self, value: int, low: int, high: int, since: str, op: Op, now: float) -> None:
        if value < low:
            self.wrong("lost increment", f"must be {low} to {high} {since}", op, now)
        elif value > high:
            self.wrong("increment twice", f"must be {low} to {high} {since}", op, now)

    def _range_from(self, value: int, anchor: Step | None, op: Op, own: Step | None) -> tuple[int, int]:
        """What the counter may be within `op`, if it was `value` right after `anchor`."""
        low = high = value
        for step in self.steps:
            if step is anchor or step.is_void or step.op.begun >= op.ended:
                continue
            if anchor is not None and step.op.ended < anchor.op.begun:
                continue  # settled: in it or never
            after = anchor is None or step.op.begun > anchor.op.ended
            if step is own or (step.is_done and after and step.op.ended < op.begun):
                low += step.amount
                high += step.amount
            else:
                low += min(0, step.amount)
                high += max(0, step.amount)
        return low, high


@dataclass(eq=False, slots=True)
class Grant:
    """One `add` of a lock."""

    token: bytes
    op: Op
    is_done: bool = False
    gone_at: float = NEVER
    """When a done delete was over that had begun after this add was over."""
    void_at: float = NEVER
    """When it was refused. Until then it may have been there for a moment: one holder had it, one had not."""

    @property
    def is_unknown(self) -> bool:
        return not self.is_done and ("ERROR" in self.op.reply or self.op.reply == LOST)


class Lock(Model):
    """add, get, delete. Between an acknowledged add and the next delete nobody else is given it."""

    kind = "lock"

    def __init__(self, key: bytes, pair: Pair, report: Report) -> None:
        super().__init__(key, pair, report)
        self.grants: list[Grant] = []
        self.held: Grant | None = None
        self.held_since = NEVER
        self.given = 0
        self.strays: list[Op] = []
        """Releases by somebody who does not have it any more: they may take it from who has it then."""
        self.flush_over = -NEVER

    def begin_add(self, token: bytes, client: str, now: float) -> Grant:
        grant = Grant(token, self.begin("add", token.decode(), client, now))
        self.grants.append(grant)
        return grant

    def added(self, grant: Grant, now: float) -> None:
        self.end(grant.op, "STORED", now)
        # What is excused would be excused from a get as well: whoever is asked has no such key.
        if self.held is not None and self.must_hit(grant.op):
            text = f"{self.held.token.decode()} has it and has not begun to release it"
            self.wrong("lock given twice", text, grant.op, now)
        grant.is_done = True
        self.strays = [each for each in self.strays if each.ended > now - FORGET_S]
        shaky_until = max(self.lost_until, self.flush_over, *(each.ended for each in self.strays))
        self.held, self.held_since = (grant, now) if grant.op.begun > shaky_until else (None, NEVER)
        self.given += 1
        self.keeping.acknowledged(grant.op.begun, now)
        self.grants = [each for each in self.grants if min(each.gone_at, each.void_at) > now - FORGET_S]

    def not_added(self, grant: Grant, reply: str, now: float) -> None:
        """NOT_STORED, or an error."""
        self.end(grant.op, reply, now)
        if reply != "NOT_STORED":
            self.judge_error(grant.op, reply, now, repeatable=False)
            return
        grant.void_at = now
        if not any(self._may_be(each, grant.op) for each in self.grants if each is not grant):
            self.wrong("old value", "nobody can have it, and yet it is not to be had", grant.op, now)

    def flush_begins(self, client: str, now: float) -> Op:
        """Nobody has it any more, and who gets it meanwhile may lose it at once."""
        self.held, self.flush_over = None, NEVER
        return super().flush_begins(client, now)

    def flush_ends(self, op: Op, reply: str, now: float, is_done: bool) -> None:
        super().flush_ends(op, reply, now, is_done)
        self.flush_over = op.ended
        if is_done and not self.may_be_spared(op):
            for grant in self.grants:
                if grant.op.ended < op.begun:
                    grant.gone_at = min(grant.gone_at, now)

    def begin_release(self, client: str, now: float) -> Op:
        op = self.begin("delete", "", client, now)
        if self.held is None:
            self.strays.append(op)
        self.held = None
        return op

    def released(self, op: Op, reply: str, now: float, was_held: bool) -> None:
        self.end(op, reply, now)
        if reply not in ("DELETED", "NOT_FOUND"):
            self.judge_error(op, reply, now)
            return
        is_flushed = any(each.is_done and each.op.begun <= self.flush_over for each in self.grants)
        if reply == "NOT_FOUND" and was_held and not is_flushed and self.pair.both_sound(op.begun):
            self.judge_miss(op, now)
        for grant in self.grants:
            if grant.op.ended < op.begun:
                grant.gone_at = min(grant.gone_at, now)

    def read(self, op: Op, token: bytes | None, now: float) -> None:
        self.end(op, "miss" if token is None else token.decode(), now)
        if token is None:
            if self.held is not None and self.held_since < op.begun:
                self.judge_miss(op, now)
            return
        grant = next((each for each in self.grants if each.token == token), None)
        if grant is None or not self._may_be(grant, op):
            self.wrong("old value", "a lock that is gone", op, now)

    @staticmethod
    def _may_be(grant: Grant, op: Op) -> bool:
        return min(grant.gone_at, grant.void_at) >= op.begun


@dataclass(eq=False, slots=True)
class Entry:
    """One piece that somebody put at the end of a log."""

    mark: bytes
    op: Op
    whole: bytes | None = None
    """What the log is right after it, where that is known (cas)."""
    is_done: bool = False
    is_void: bool = False


class Log(Model):
    """A text to which pieces are added, by gets and cas or by append. None is lost, none is there twice."""

    kind = "log"

    def __init__(self, key: bytes, pair: Pair, report: Report, first: bytes, verb: str = "cas") -> None:
        super().__init__(key, pair, report)
        self.first = first
        self.verb = verb
        """By which pieces are added: cas or append."""
        self.entries: dict[bytes, Entry] = {}
        self.is_lost = False

    def created(self, op: Op, now: float) -> None:
        self.end(op, "STORED", now)
        self.keeping.acknowledged(op.begun, now)

    def flush_begins(self, client: str, now: float) -> Op:
        self.is_lost = True
        return super().flush_begins(client, now)

    def begin_entry(self, verb: str, mark: bytes, whole: bytes | None, client: str, now: float) -> Entry:
        entry = Entry(mark, self.begin(verb, mark.decode(), client, now), whole)
        self.entries[mark] = entry
        return entry

    def stored(self, entry: Entry, now: float) -> None:
        self.end(entry.op, "STORED", now)
        entry.is_done = True
        if entry.whole is not None:
            self.settles(entry.op)
        self.keeping.acknowledged(entry.op.begun, now)

    def not_stored(self, entry: Entry, reply: str, now: float, is_miss: bool) -> None:
        """EXISTS, NOT_FOUND, NOT_STORED, or an error."""
        self.end(entry.op, reply, now)
        if "ERROR" in reply or reply == LOST:
            self.judge_error(entry.op, reply, now, repeatable=False)
            if not self.pair.any_sound(entry.op.begun):
                self.is_lost = True
            return
        entry.is_void = True
        if is_miss:
            self.is_lost = self.is_lost or self.judge_miss(entry.op, now)

    def read(self, op: Op, text: bytes | None, now: float) -> None:
        self.end(op, "miss" if text is None else text.decode(), now)
        if self.is_lost:
            return
        if text is None:
            self.is_lost |= self.judge_miss(op, now)
            return
        first, *marks = text.split()
        if first != self.first:
            self.wrong("old value", "not what it began with", op, now)
        if len(set(marks)) != len(marks):
            self.wrong("written twice", "a piece is there twice", op, now)
        for mark in marks:
            entry = self.entries.get(mark)
            if entry is None or entry.is_void:
                self.wrong("old value", f"{mark.decode()} was refused or never written", op, now)
        there = set(marks)
        for entry in self.entries.values():
            if entry.is_done and entry.op.ended < op.begun:
                if entry.mark not in there:
                    self.wrong("lost write", f"{entry.mark.decode()} was acknowledged before", op, now)
                elif entry.whole is not None and not text.startswith(entry.whole):
                    self.wrong("lost write", f"does not begin as {entry.mark.decode()} had left it", op, now)
