"""What is done to a server: it ends, freezes, is cut off, falls silent, gets slow; and ends of all that.

And to the proxy: a worker is killed or frozen, it reloads, the supervisor is killed.

A fault is a function of (world, node, rng) that runs in a thread of its own until it is over. What it does
to the server's memory and reach it says before it does it. A fault of the proxy has no node.
"""

import random
import time
from collections.abc import Callable

from tests.chaos.pools import Node
from tests.chaos.world import World

Fault = Callable[[World, Node, random.Random], None]
ProxyFault = Callable[[World, random.Random], None]


def kill(world: World, node: Node, rng: random.Random) -> None:
    """SIGKILL; empty again after a while, or at once, quicker than any probe."""
    down_s = rng.choice((0.0, 0.0, rng.uniform(0.02, 0.3), rng.uniform(0.3, 3.0)))
    world.fault_begins(node, f"killed, to be restarted empty after {down_s:.2f} s", must_be_noticed=True)
    node.holder.loses_memory(time.monotonic())
    node.memcached.kill()
    time.sleep(down_s)
    node.memcached.restart()
    node.holder.loses_memory(time.monotonic())
    world.fault_is_over(node, f"restarted, pid {node.memcached.pid}")


def freeze(world: World, node: Node, rng: random.Random) -> None:
    """SIGSTOP: the kernel goes on accepting connections and requests for it."""
    for_s = rng.uniform(0.2, 4.0)
    world.fault_begins(node, f"frozen for {for_s:.2f} s")
    node.memcached.pause()
    time.sleep(for_s)
    node.memcached.resume()
    world.fault_is_over(node, "thawed")


def freeze_and_kill(world: World, node: Node, rng: random.Random) -> None:
    """What had been sent to it is lost with it."""
    for_s = rng.uniform(0.2, 2.0)
    world.fault_begins(node, f"frozen for {for_s:.2f} s, then killed", must_be_noticed=True)
    node.memcached.pause()
    time.sleep(for_s)
    node.holder.loses_memory(time.monotonic())
    node.memcached.kill()
    node.memcached.restart()
    node.holder.loses_memory(time.monotonic())
    world.fault_is_over(node, f"restarted, pid {node.memcached.pid}")


def cut(world: World, node: Node, rng: random.Random) -> None:
    """Its connections are reset; new ones work."""
    world.fault_begins(node, "connections cut")
    world.tell_relay(node, "cut", rng.random() < 0.7)
    world.fault_is_over(node, "connections were cut")


def cut_while_under_way(world: World, node: Node, rng: random.Random) -> None:
    """Its connections are reset, and what had been sent on them arrives after that."""
    before_s, late_s = rng.uniform(0.02, 0.2), rng.uniform(0.05, 0.5)
    world.fault_begins(node, f"requests held, {before_s:.2f} s later cut, {late_s:.2f} s later arrived")
    world.tell_relay(node, "hold", "forward")
    time.sleep(before_s)
    world.tell_relay(node, "cut_clients")
    time.sleep(late_s)
    world.tell_relay(node, "release", "forward")
    world.fault_is_over(node, "what was under way has arrived")


def refuse(world: World, node: Node, rng: random.Random) -> None:
    """The process lives, and nobody can reach it."""
    for_s = rng.uniform(0.1, 3.0)
    world.fault_begins(node, f"cut off, refusing for {for_s:.2f} s")
    world.tell_relay(node, "refuse")
    time.sleep(for_s)
    world.tell_relay(node, "accept")
    world.fault_is_over(node, "accepting again")


def blackhole(world: World, node: Node, rng: random.Random) -> None:
    """No packet passes; afterwards what was sent arrives late, or its connections are reset."""
    for_s, lose = rng.uniform(0.5, 4.0), rng.random() < 0.5
    world.fault_begins(node, f"silent loss for {for_s:.2f} s, then {'cut' if lose else 'late arrival'}")
    world.tell_relay(node, "blackhole")
    time.sleep(for_s)
    world.tell_relay(node, "emerge", lose)
    world.fault_is_over(node, "reachable again")


def mute(world: World, node: Node, rng: random.Random) -> None:
    """Requests arrive and are carried out, replies do not arrive, or late."""
    for_s, lose = rng.uniform(0.2, 3.0), rng.random() < 0.5
    world.fault_begins(node, f"replies held for {for_s:.2f} s, then {'cut' if lose else 'released'}")
    world.tell_relay(node, "hold", "back")
    time.sleep(for_s)
    if lose:
        world.tell_relay(node, "cut")
    world.tell_relay(node, "heal")
    world.fault_is_over(node, "replies pass again")


def slow(world: World, node: Node, rng: random.Random) -> None:
    """Every reply is late by less than the time limit, or by more."""
    for_s, by_s = rng.uniform(0.5, 3.0), rng.choice((0.01, 0.05, 0.2, 0.8))
    world.fault_begins(node, f"slower by {by_s:g} s for {for_s:.2f} s")
    world.tell_relay(node, "delay", by_s, rng.choice(("forward", "back")))
    time.sleep(for_s)
    world.tell_relay(node, "heal")
    world.fault_is_over(node, "as quick as ever")


# --- the proxy's own processes ---


def kill_worker(world: World, rng: random.Random) -> None:
    """SIGKILL; over when another is in its place."""
    pid = rng.choice(world.workers.pids())
    out = [node.name for node in world.nodes if node.holder.worker_dies()]
    world.events.add("proxy", f"worker {pid} killed" + (f", out are {', '.join(out)}" if out else ""))
    world.workers.kill(pid)
    world.events.add("proxy", f"workers are {world.workers.pids()}")


def freeze_worker(world: World, rng: random.Random) -> None:
    """What a busy machine may do to any process."""
    pid = rng.choice(world.workers.pids())
    world.events.add("proxy", f"worker {pid} frozen")
    world.workers.freeze(pid)
    time.sleep(0.3)
    world.workers.thaw(pid)
    world.events.add("proxy", f"worker {pid} thawed")


def reload(world: World, rng: random.Random) -> None:
    """Pools, servers and whoever copies keys are told anew."""
    world.reload(probe_max_ms=rng.randint(300, 1500), repair_ttl_ms=rng.randint(30_000, 90_000))


def kill_supervisor(world: World, rng: random.Random) -> None:
    """Nobody replaces it, nobody refills a server."""
    world.events.add("proxy", "supervisor killed")
    world.workers.kill_supervisor()


ANYWHERE: tuple[Fault, ...] = (kill, kill, kill, freeze, freeze, freeze_and_kill)
RELAYED: tuple[Fault, ...] = (cut, cut_while_under_way, refuse, blackhole, blackhole, mute, slow)
PROXY: tuple[ProxyFault, ...] = (kill_worker, freeze_worker, reload)


def draw(node: Node, rng: random.Random) -> Fault:
    """Half of a relayed server's faults are its relay's."""
    return rng.choice(RELAYED if node.relay is not None and rng.random() < 0.6 else ANYWHERE)
