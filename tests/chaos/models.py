"""What each reply about a key may say: a register, a counter, a lock, a log. `holders` says what is excused.

    begin(verb, ...) ── an Op ──▶ request under way ──▶ the method for its reply; what is wrong goes to `judge`

Every model sees requests begin and end in real time, one at a time; requests overlap. A write is

    pending    until its reply has come: it may be seen, or not
    done       acknowledged: later reads see it, or a write that did not end before it began
    unknown    answered by an error: it may be seen or not, at any time until a done write that began after
               that error; where no holder was sound all through it, it may also have cost the key
    void       answered by "no": never seen

All values are unique, so a value names its write.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.history import NEVER_ENDED, History, Op
from tests.chaos.holders import NEVER, Keeping, Pair

FORGET_S = 10.0
"""No request lasts as long as this; what was over before that is of no use."""

CLOCK_S = 1.2
"""memcached counts in whole seconds, from a tick of its own."""


@dataclass
class Violation:
    kind: str
    text: str
    op: Op | None
    key: str
    at: float
    rendered: str = ""


Report = Callable[[Violation], None]


@dataclass(eq=False, slots=True)
class Version:
    """A value that a write leaves, None where it leaves nothing."""

    value: bytes | None
    begun: float
    ended: float = NEVER_ENDED
    is_done: bool = False
    dies_from: float = NEVER
    dies_until: float = NEVER
    superseded_at: float = NEVER
    """When a done write was over that had begun after this one was over."""


class Model:
    """What all classes of keys share."""

    kind = "key"

    def __init__(self, key: bytes, pair: Pair, report: Report) -> None:
        self.key = key
        self.pair = pair
        self.keeping = Keeping(pair)
        self.history = History(key.decode(), f"{pair.owner.name}, copy on {pair.copy.name}")
        self._report = report

    def begin(self, verb: str, text: str, client: str, now: float) -> Op:
        return self.history.add(Op(verb, text, client, now))

    def end(self, op: Op, reply: str, now: float) -> None:
        op.ended, op.reply = now, reply

    def wrong(self, kind: str, text: str, op: Op | None, now: float) -> None:
        self._report(Violation(kind, text, op, self.key.decode(), now))

    def judge_miss(self, op: Op, now: float) -> bool:
        """A miss that the writes do not explain: is it excused?"""
        if self.keeping.must_hit(op.begun):
            self.wrong("lost key", "a holder that has the key was there all the time", op, now)
            return False
        return True

    def judge_error(self, op: Op, reply: str, now: float, repeatable: bool = True) -> None:
        if not self.pair.any_sound(op.begun):
            return
        if not repeatable and "unknown outcome" in reply and not self.pair.both_sound(op.begun):
            return
        if "unknown outcome" in reply:
            self.wrong("error reply", "unknown outcome, of what could be repeated or met no fault", op, now)
        else:
            self.wrong("error reply", "a holder was there all the time", op, now)


class Register(Model):
    """get, gets, multiget, set, delete, touch, gat."""

    kind = "register"

    def __init__(self, key: bytes, pair: Pair, report: Report) -> None:
        super().__init__(key, pair, report)
        self.versions = [Version(None, -NEVER, -NEVER, is_done=True)]
        self.is_being_written = False

    # --- writes ---

    def begin_write(
        self, verb: str, value: bytes | None, client: str, now: float, ttl_s: float = 0
    ) -> tuple[Op, Version]:
        """A set, or with None a delete; `ttl_s` 0 is for ever, less is none."""
        shown = "" if value is None else value[:24].decode()
        op = self.begin(verb, f"{shown} ttl={ttl_s:g}" if ttl_s else shown, client, now)
        version = Version(value, now)
        if ttl_s:
            version.dies_from = now + ttl_s - CLOCK_S
        self.versions.append(version)
        return op, version

    def stored(self, op: Op, version: Version, reply: str, now: float, ttl_s: float = 0) -> None:
        self.end(op, reply, now)
        if ttl_s:
            version.dies_until = now + max(ttl_s, 0) + CLOCK_S
        self._done(op, version, now)

    def deleted(self, op: Op, version: Version, had_it: bool, now: float) -> None:
        self.end(op, "DELETED" if had_it else "NOT_FOUND", now)
        before = [each for each in self.versions if each is not version]
        if had_it and not any(each.value is not None and self._may_be(each, op) for each in before):
            self.wrong("old value", "deleted, although there was nothing that could be", op, now)
        explained = any(
            self._may_be(each, op) and (each.value is None or each.dies_from <= now) for each in before
        )
        # Where a holder fell out meanwhile it may have been repeated.
        if not had_it and not explained and self.pair.both_sound(op.begun):
            self.judge_miss(op, now)
        self._done(op, version, now)

    def refused(self, op: Op, version: Version, reply: str, now: float) -> None:
        """An error: nobody knows."""
        self.end(op, reply, now)
        self.judge_error(op, reply, now)
        self._unknown(op, version, now)

    def lost_reply(self, op: Op, version: Version, now: float) -> None:
        """No reply was asked for, or the connection ended."""
        self.end(op, "(none)", now)
        if self.pair.both_sound(op.begun):
            self._done(op, version, now)
        else:
            self._unknown(op, version, now)

    def _done(self, op: Op, version: Version, now: float) -> None:
        version.ended, version.is_done = now, True
        for each in self.versions:
            if each is not version and each.ended < version.begun:
                each.superseded_at = min(each.superseded_at, now)
        if version.value is not None:
            self.keeping.acknowledged(op.begun)
        self._forget(now)

    def _unknown(self, op: Op, version: Version, now: float) -> None:
        version.ended = now
        if not self.pair.any_sound(op.begun):
            # what cannot follow loses the key rather than keep an old value
            self.versions.append(Version(None, version.begun, now))

    def _forget(self, now: float) -> None:
        self.versions = [each for each in self.versions if each.superseded_at > now - FORGET_S]

    # --- touches ---

    def begin_touch(self, client: str, now: float, ttl_s: float) -> Op:
        for each in self.versions:
            if ttl_s:
                each.dies_from = min(each.dies_from, now + ttl_s - CLOCK_S)
            each.dies_until = NEVER
        return self.begin("touch", f"ttl={ttl_s:g}", client, now)

    def touched(self, op: Op, now: float, ttl_s: float) -> None:
        self.end(op, "TOUCHED", now)
        living = [each for each in self.versions if each.superseded_at == NEVER]
        if not any(each.value is not None for each in living):
            self.wrong("old value", "touched, although there was nothing", op, now)
        if len(living) == 1:
            living[0].dies_from = op.begun + ttl_s - CLOCK_S if ttl_s else NEVER
            living[0].dies_until = now + ttl_s + CLOCK_S if ttl_s else NEVER

    def not_touched(self, op: Op, reply: str, now: float) -> None:
        """NOT_FOUND, or an error."""
        self.end(op, reply, now)
        if reply != "NOT_FOUND":
            self.judge_error(op, reply, now)
        elif not self._may_be_absent(op, now):
            self.judge_miss(op, now)

    # --- reads ---

    def read(self, op: Op, value: bytes | None, now: float, shown: str = "") -> None:
        self.end(op, shown or ("miss" if value is None else value[:24].decode(errors="replace")), now)
        if value is None:
            if not self._may_be_absent(op, now):
                self.judge_miss(op, now)
            return
        found = next((each for each in self.versions if each.value == value), None)
        if found is None:
            self.wrong("old value", "overwritten long ago, or never written", op, now)
        elif found.superseded_at < op.begun:
            over = op.begun - found.superseded_at
            self.wrong("old value", f"a newer write had been acknowledged {over:.3f} s before", op, now)
        elif found.dies_until + CLOCK_S < op.begun:
            over = op.begun - found.dies_until
            self.wrong("expired value", f"it had to be gone {over:.3f} s before", op, now)

    def _may_be(self, version: Version, op: Op) -> bool:
        """May a request see this?"""
        return version.superseded_at >= op.begun

    def _may_be_absent(self, op: Op, now: float) -> bool:
        return any(
            self._may_be(each, op) and (each.value is None or each.dies_from <= now) for each in self.versions
        )

    @property
    def may_be_there(self) -> bool:
        return any(each.value is not None and each.superseded_at == NEVER for each in self.versions)


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
        self.keeping.acknowledged(op.begun)

    def begin_step(self, amount: int, client: str, now: float) -> Step:
        verb = "incr" if amount > 0 else "decr"
        step = Step(amount, self.begin(verb, str(abs(amount)), client, now))
        self.steps.append(step)
        return step

    def stepped(self, step: Step, result: int, now: float) -> None:
        self.end(step.op, str(result), now)
        step.result, step.is_done = result, True
        self.keeping.acknowledged(step.op.begun)
        self._judge(step.op, result, now, own=step)

    def failed(self, step: Step, reply: str, now: float) -> None:
        """NOT_FOUND, or an error."""
        self.end(step.op, reply, now)
        if reply == "NOT_FOUND":
            step.is_void = True
            self.is_lost |= self.judge_miss(step.op, now)
            return
        self.judge_error(step.op, reply, now, repeatable=False)
        if not self.pair.any_sound(step.op.begun):
            self.is_lost = True

    def read(self, op: Op, value: int | None, now: float) -> None:
        self.end(op, "miss" if value is None else str(value), now)
        if value is None:
            self.is_lost |= self.judge_miss(op, now)
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
    """When it was refused. Until then it may have been there for a moment: one holder had it, the other not."""


class Lock(Model):
    """add, get, delete. Between an acknowledged add and the next delete nobody else is given it."""

    kind = "lock"

    def __init__(self, key: bytes, pair: Pair, report: Report) -> None:
        super().__init__(key, pair, report)
        self.grants: list[Grant] = []
        self.held: Grant | None = None
        self.held_since = NEVER
        self.given = 0

    def begin_add(self, token: bytes, client: str, now: float) -> Grant:
        grant = Grant(token, self.begin("add", token.decode(), client, now))
        self.grants.append(grant)
        return grant

    def added(self, grant: Grant, now: float) -> None:
        self.end(grant.op, "STORED", now)
        # What is excused would be excused from a get as well: whoever is asked has no such key.
        if self.held is not None and self.keeping.must_hit(grant.op.begun):
            text = f"{self.held.token.decode()} has it and has not begun to release it"
            self.wrong("lock given twice", text, grant.op, now)
        grant.is_done = True
        self.held, self.held_since = grant, now
        self.given += 1
        self.keeping.acknowledged(grant.op.begun)
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

    def begin_release(self, client: str, now: float) -> Op:
        self.held = None
        return self.begin("delete", "", client, now)

    def released(self, op: Op, reply: str, now: float, was_held: bool) -> None:
        self.end(op, reply, now)
        if reply not in ("DELETED", "NOT_FOUND"):
            self.judge_error(op, reply, now)
            return
        if reply == "NOT_FOUND" and was_held and self.pair.both_sound(op.begun):
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

    def __init__(self, key: bytes, pair: Pair, report: Report, first: bytes) -> None:
        super().__init__(key, pair, report)
        self.first = first
        self.entries: dict[bytes, Entry] = {}
        self.is_lost = False

    def created(self, op: Op, now: float) -> None:
        self.end(op, "STORED", now)
        self.keeping.acknowledged(op.begun)

    def begin_entry(self, verb: str, mark: bytes, whole: bytes | None, client: str, now: float) -> Entry:
        entry = Entry(mark, self.begin(verb, mark.decode(), client, now), whole)
        self.entries[mark] = entry
        return entry

    def stored(self, entry: Entry, now: float) -> None:
        self.end(entry.op, "STORED", now)
        entry.is_done = True
        self.keeping.acknowledged(entry.op.begun)

    def not_stored(self, entry: Entry, reply: str, now: float, is_miss: bool) -> None:
        """EXISTS, NOT_FOUND, NOT_STORED, or an error."""
        self.end(entry.op, reply, now)
        if "ERROR" in reply:
            self.judge_error(entry.op, reply, now, repeatable=False)
            if not self.pair.any_sound(entry.op.begun):
                self.is_lost = True
            return
        entry.is_void = True
        if is_miss:
            self.is_lost |= self.judge_miss(entry.op, now)

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
                    self.wrong(
                        "lost write", f"does not begin as {entry.mark.decode()} had left it", op, now
                    )
