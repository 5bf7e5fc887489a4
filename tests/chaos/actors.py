"""What clients do: one turn of one actor is one call. The models judge every reply."""

import asyncio
import math
import time
from typing import TypeVar

from tests.chaos import verbs
from tests.chaos.client import Hit, Reply
from tests.chaos.conditional import Counter, Lock, Log
from tests.chaos.history import LOST, Op
from tests.chaos.holders import NEVER
from tests.chaos.load import FLAGS, Hand, Load
from tests.chaos.models import LATE_LOST_S, Register, Violation

LONGEST_LOG = 50
LONGEST_COUNTER = 150

Made = TypeVar("Made", Counter, Log)


def _found(hand: Hand, model: Register, hit: Hit | None, now: float) -> bytes | None:
    """The value, after a look at its flags."""
    if hit is None:
        return None
    number = hit.value.partition(b":")[0]
    if not number.isdigit() or hit.flags != int(number) & FLAGS:
        model.wrong("wrong flags", f"{hit.flags} with {hit.value[:24]!r}", None, now)
    return hit.value


# --- registers ---


async def read(hand: Hand) -> None:
    rng, load = hand.rng, hand.load
    models = load.hot + load.shared + load.still
    chosen = {model.key: model for model in rng.sample(models, rng.choice((1, 1, 1, 5, 20)))}
    verb = rng.choice(("get", "gets"))
    now = time.monotonic()
    ops = {key: model.begin(verb, f"1 of {len(chosen)}", hand.label, now) for key, model in chosen.items()}
    if len(chosen) == 1:
        [(key, op)] = ops.items()
        reply = await verbs.get(hand, op, key, verb == "gets")
    else:
        reply = await hand.ask(verb.encode() + b" " + b" ".join(chosen) + b"\r\n", "values")
    for key, model in chosen.items():
        if reply.line == "END":
            model.read(ops[key], _found(hand, model, reply.hits.get(key), reply.at), reply.at)
        else:
            model.end(ops[key], reply.line, reply.at)
            model.judge_error(ops[key], reply.line, reply.at)


async def write_alone(hand: Hand) -> None:
    idle = [model for model in hand.rng.sample(hand.load.hot, 8) if not model.is_being_written]
    if idle:
        model = idle[0]
        model.is_being_written = True
        try:
            await _write(hand, model)
        finally:
            model.is_being_written = False


async def write_shared(hand: Hand) -> None:
    await _write(hand, hand.rng.choice(hand.load.shared), is_shared=True)


async def _write(hand: Hand, model: Register, is_shared: bool = False) -> None:
    chance = hand.rng.random()
    if chance < 0.55:
        await store(hand, model, hand.rng.choice((0, 0, 0, 2, 4, 100)))
    elif chance < 0.75:
        op, version = model.begin_write("delete", None, hand.label, time.monotonic())
        reply = await verbs.delete(hand, op, model.key)
        if reply.line in ("DELETED", "NOT_FOUND"):
            model.deleted(op, version, reply.line == "DELETED", reply.at)
        else:
            model.refused(op, version, reply.line, reply.at)
    elif chance < 0.85:
        await _store_quietly(hand, model)
    elif chance < 0.88:
        await store(hand, model, -1)
    elif not is_shared:
        await _touch(hand, model, hand.rng.choice((0, 3, 5, 100)))


async def store(hand: Hand, model: Register, ttl_s: int = 0) -> Reply:
    value, flags = hand.load.value()
    op, version = model.begin_write("set", value, hand.label, time.monotonic(), ttl_s)
    reply = await verbs.store(hand, op, "set", model.key, value, flags, ttl_s)
    if reply.line == "STORED":
        model.stored(op, version, reply.line, reply.at, ttl_s)
    else:
        model.refused(op, version, reply.line, reply.at)
    return reply


async def _store_quietly(hand: Hand, model: Register) -> None:
    """Two requests for one key on one connection reach every holder in this order."""
    value, flags = hand.load.value()
    now = time.monotonic()
    op, version = model.begin_write("set", value, hand.label, now)
    reading = model.begin("get", "behind it", hand.label, now)
    if hand.rng.random() < 0.5:
        op.form = "ms q "
        request = verbs.quiet_store(hand, op, "set", model.key, value, flags)
        reply = await hand.ask(request + b"mg %b v f\r\nmn\r\n" % model.key, "batch", "ms-q")
        verbs.name_hit(reply, model.key)
        trouble = [line for line in reply.stats if line != "EN"]
        reply.line = trouble[0] if trouble else "END" if reply.line == "MN" else reply.line
    else:
        op.verb = "set noreply"
        head = b"set %b %d 0 %d noreply\r\n" % (model.key, flags, len(value))
        request = head + value + b"\r\nget " + model.key + b"\r\n"
        reply = await hand.ask(request, "values", "set-noreply")
    if reply.stats and reply.is_error:
        model.refused(op, version, reply.line, reply.at)
    else:
        model.no_reply(op, version, reply.at, reply.line)
    # As if it had begun later: the write before it on this connection is over.
    if model.pair.both_sound(reading.begun) and not reply.is_error:
        reading.begun = math.nextafter(reply.at, math.inf)
    if reply.line == "END":
        model.read(reading, _found(hand, model, reply.hits.get(model.key), reply.at), reply.at)
    else:
        model.end(reading, reply.line, reply.at)
        model.judge_error(reading, reply.line, reply.at)


async def _touch(hand: Hand, model: Register, ttl_s: int) -> None:
    if hand.rng.random() < 0.5:
        op = model.begin_touch(hand.label, time.monotonic(), ttl_s)
        reply = await verbs.touch(hand, op, model.key, ttl_s)
        if reply.line == "TOUCHED":
            model.touched(op, reply.at, ttl_s)
        else:
            model.not_touched(op, reply.line, reply.at)
        return
    op = model.begin_touch(hand.label, time.monotonic(), ttl_s)
    op.verb = "gat"
    reply = await verbs.get_and_touch(hand, op, model.key, ttl_s)
    hit = reply.hits.get(model.key)
    if hit is not None:
        model.touched(op, reply.at, ttl_s)
        model.read(op, _found(hand, model, hit, reply.at), reply.at)
    else:
        model.not_touched(op, "NOT_FOUND" if reply.line == "END" else reply.line, reply.at)


async def flush(hand: Hand) -> None:
    """One write of nothing to every key that there is."""
    await hand.connect()
    load, now = hand.load, time.monotonic()
    load.flush_over = NEVER
    flushed = [(model, model.flush_begins(hand.label, now)) for model in load.models.values()]
    reply = await hand.ask(b"flush_all\r\n")
    # Who was out, or did not answer, is out until it has been flushed.
    is_done = reply.line == "OK" or "flushed when it returns" in reply.line or "perhaps not" in reply.line
    load.world.events.add("proxy", f"flush_all, sent {load.world.events.at(now).strip()} -> {reply.line}")
    load.count(f"flush_all {reply.line.split()[0]}")
    if not is_done and reply.line != LOST:
        load.report(Violation("error reply", f"flush_all -> {reply.line}", None, "flush_all", reply.at))
    load.flush_over = reply.at + (0 if is_done else LATE_LOST_S)
    for model, op in flushed:
        model.flush_ends(op, reply.line, reply.at, is_done)


# --- locks ---


async def lock(hand: Hand) -> None:
    model: Lock = hand.rng.choice(hand.load.locks)
    token = b"%s.%d" % (hand.name.encode(), next(hand.load.numbers))
    grant = model.begin_add(token, hand.label, time.monotonic())
    reply = await verbs.store(hand, grant.op, "add", model.key, token, ttl_s=600)
    if reply.line == "STORED":
        model.added(grant, reply.at)
        for _ in range(hand.rng.choice((0, 1, 3))):
            await asyncio.sleep(hand.rng.random() * 0.1)
            await _look_at_lock(hand, model)
        await _release(hand, model, is_mine=True)
        return
    model.not_added(grant, reply.line, reply.at)
    # Nobody else would ever release what an unknown outcome has left behind.
    if hand.rng.random() < 0.3 or reply.is_error:
        token_there = await _look_at_lock(hand, model)
        ghost = next((each for each in model.grants if each.token == token_there), None)
        if ghost is not None and ghost.is_unknown:
            await _release(hand, model, is_mine=False)


async def _look_at_lock(hand: Hand, model: Lock) -> bytes | None:
    op = model.begin("get", "", hand.label, time.monotonic())
    reply = await verbs.get(hand, op, model.key)
    hit = reply.hits.get(model.key)
    if reply.line == "END":
        model.read(op, hit.value if hit else None, reply.at)
    else:
        model.end(op, reply.line, reply.at)
        model.judge_error(op, reply.line, reply.at)
    return hit.value if hit else None


async def _release(hand: Hand, model: Lock, is_mine: bool) -> None:
    """Until it is known to be released: a lock that cannot be is held for ever."""
    while True:
        op = model.begin_release(hand.label, time.monotonic())
        reply = await verbs.delete(hand, op, model.key)
        model.released(op, reply.line, reply.at, is_mine)
        if not reply.is_error or hand.load.is_over:
            return
        is_mine = False
        await asyncio.sleep(0.1)


# --- counters ---


async def step(hand: Hand, model: Counter) -> None:
    chance = hand.rng.random()
    if chance < 0.25:
        op = model.begin("get", "", hand.label, time.monotonic())
        reply = await verbs.get(hand, op, model.key)
        hit = reply.hits.get(model.key)
        if reply.line == "END":
            model.read(op, int(hit.value) if hit else None, reply.at)
        else:
            model.end(op, reply.line, reply.at)
            model.judge_error(op, reply.line, reply.at)
        return
    amount = hand.rng.choice((1, 1, 2, 7)) if chance < 0.9 else -1
    taken = model.begin_step(amount, hand.label, time.monotonic())
    reply = await verbs.step(hand, taken.op, model.key, amount)
    if reply.line.isdigit():
        model.stepped(taken, int(reply.line), reply.at)
    else:
        model.failed(taken, reply.line, reply.at)


async def new_counter(hand: Hand, is_shared: bool) -> Counter | None:
    model = hand.load.counter(is_shared)
    op = model.begin("add", str(model.first), hand.label, time.monotonic())
    reply = await verbs.store(hand, op, "add", model.key, b"%d" % model.first)
    return _created(hand.load, model, op, reply)


def _created(load: Load, model: Made, op: Op, reply: Reply) -> Made | None:
    if reply.line == "STORED":
        model.created(op, reply.at)
        model.is_lost = op.begun <= load.flush_over
        return None if model.is_lost else model
    model.end(op, reply.line, reply.at)
    model.is_lost = True
    if reply.is_error:
        model.judge_error(op, reply.line, reply.at, repeatable=False)
    else:
        model.wrong("old value", "add refused for a key that nobody ever wrote", op, reply.at)
    return None


async def count_up(hand: Hand) -> None:
    """Counters that several clients use at once."""
    counters = hand.load.counters
    counters[:] = [each for each in counters if not each.is_lost and len(each.steps) < LONGEST_COUNTER]
    if len(counters) < hand.load.few:
        model = await new_counter(hand, is_shared=True)
        if model is not None:
            counters.append(model)
    else:
        await step(hand, hand.rng.choice(counters))


async def count_alone(hand: Hand) -> None:
    model = await new_counter(hand, is_shared=False)
    while model is not None and not model.is_lost and len(model.steps) < 40 and not hand.load.is_over:
        await step(hand, model)
        await asyncio.sleep(hand.rng.random() * 2 * hand.pause_s)


# --- logs ---


async def log_by_cas(hand: Hand) -> None:
    model = await _some_log(hand, "cas")
    if model is None:
        return
    op = model.begin("gets", "", hand.label, time.monotonic())
    reply = await verbs.get(hand, op, model.key, is_cas=True)
    hit = reply.hits.get(model.key)
    if reply.is_error:
        model.end(op, reply.line, reply.at)
        model.judge_error(op, reply.line, reply.at)
        return
    model.read(op, hit.value if hit else None, reply.at)
    if hit is None:
        return
    if hand.rng.random() < 0.2:
        await asyncio.sleep(hand.rng.random() * 0.3)  # others may be quicker, servers may fall out
    mark = b"%d" % next(hand.load.numbers)
    whole = hit.value + b" " + mark
    entry = model.begin_entry("cas", mark, whole, hand.label, time.monotonic())
    entry.op.text = f"{mark.decode()} at {hit.cas:#x}"
    reply = await verbs.store(hand, entry.op, "cas", model.key, whole, cas=hit.cas)
    hand.load.count(f"cas {reply.line.split()[0]}")
    if reply.line == "STORED":
        model.stored(entry, reply.at)
    else:
        model.not_stored(entry, reply.line, reply.at, is_miss=reply.line == "NOT_FOUND")


async def log_by_append(hand: Hand) -> None:
    verb = hand.rng.choice(("append", "append", "read"))
    model = await _some_log(hand, "append")
    if model is None:
        return
    if verb == "read":
        op = model.begin("get", "", hand.label, time.monotonic())
        reply = await verbs.get(hand, op, model.key)
        hit = reply.hits.get(model.key)
        if reply.is_error:
            model.end(op, reply.line, reply.at)
            model.judge_error(op, reply.line, reply.at)
        else:
            model.read(op, hit.value if hit else None, reply.at)
        return
    mark = b"%d" % next(hand.load.numbers)
    entry = model.begin_entry("append", mark, None, hand.label, time.monotonic())
    piece = b" " + mark
    reply = await verbs.store(hand, entry.op, "append", model.key, piece)
    if reply.line == "STORED":
        model.stored(entry, reply.at)
    else:
        model.not_stored(entry, reply.line, reply.at, is_miss=reply.line == "NOT_STORED")


async def _some_log(hand: Hand, verb: str) -> Log | None:
    """One that is in use, or None when a new one was made."""
    logs = hand.load.logs
    logs[:] = [each for each in logs if not each.is_lost and len(each.entries) < LONGEST_LOG]
    mine = [each for each in logs if each.verb == verb]
    if len(mine) >= hand.load.few // 2 + 1:
        return hand.rng.choice(mine)
    model = hand.load.log(verb)
    op = model.begin("add", model.first.decode(), hand.label, time.monotonic())
    reply = await verbs.store(hand, op, "add", model.key, model.first)
    if _created(hand.load, model, op, reply) is not None:
        logs.append(model)
    return None


CAST = (
    *((read, 5), (write_alone, 6), (write_shared, 3), (lock, 4)),
    *((count_up, 3), (count_alone, 2), (log_by_cas, 3), (log_by_append, 2)),
)
