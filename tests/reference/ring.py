"""Placement in plain, slow Python: what `memagent._core.ring` must agree with, key by key."""

import hashlib
import math
import struct
from collections.abc import Callable
from typing import NamedTuple

from tests.reference import hashing, xxh3


class Server(NamedTuple):
    name: str  # "" = derive it from the address
    host: str
    port: int
    weight: int


class Point(NamedTuple):
    value: int
    server: int


def float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def ring_name(host: str, port: int) -> str:
    return host if port in (0, 11211) else f"{host}:{port}"


def md5_points(name: str, server: int) -> list[Point]:
    return [Point(value, server) for value in struct.unpack("<4I", hashlib.md5(name.encode()).digest())]


def ketama_points(servers: list[Server]) -> list[Point]:
    points = []
    total = sum(server.weight for server in servers)
    for index, server in enumerate(servers):
        share = float32(float32(server.weight) / float32(total))
        digests = math.floor(float32(float32(float32(share * 160) / 4) * len(servers)) + 1e-10)
        for number in range(digests):
            points += md5_points(f"{server.name or ring_name(server.host, server.port)}-{number}", index)
    return sorted(points)


def consistent_points(servers: list[Server], key_hash: Callable[[bytes], int]) -> list[Point]:
    points = []
    for index, server in enumerate(servers):
        for number in range(100):
            name = f"{server.name or ring_name(server.host, server.port)}-{number}"
            points.append(Point(key_hash(name.encode()), index))
    return sorted(points)


def magent_points(servers: list[Server]) -> list[Point]:
    points = []
    for index, server in enumerate(servers):
        name = server.name or (f"{server.host}-{server.port}" if server.port else server.host)
        for number in range(500):
            points += md5_points(f"{name}-{number}", index)
    return sorted(points)


def walk(points: list[Point], key_hash: int, but_not: int | None) -> int | None:
    """The server of the first point from `key_hash` on, round the ring, that is not `but_not`'s."""
    later = [point for point in points if point.value >= key_hash]
    earlier = [point for point in points if point.value < key_hash]
    return next((point.server for point in later + earlier if point.server != but_not), None)


def jump(key: int, slots: int) -> int:
    """Lamping and Veach's jump consistent hash."""
    chosen, candidate = -1, 0
    while candidate < slots:
        chosen = candidate
        key = (key * 2862933555777941757 + 1) & xxh3.MASK64
        candidate = int((chosen + 1) * ((1 << 31) / ((key >> 33) + 1)))
    return chosen


def rendezvous_score(server: Server, key_hash: int) -> float:
    name = server.name or ring_name(server.host, server.port)
    value = xxh3.hash64(name.encode()) ^ (key_hash * 0x9E3779B97F4A7C15 & xxh3.MASK64)
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & xxh3.MASK64
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & xxh3.MASK64
    value ^= value >> 33
    return -server.weight / math.log(((value >> 11) + 0.5) / (1 << 53))


class PlainRing:
    def __init__(self, servers: list[Server], distribution: str, key_hash: Callable[[bytes], int]) -> None:
        self.servers = servers
        self.distribution = distribution
        order = list(range(len(servers)))
        if distribution == "modula" and all(server.name for server in servers):
            order.sort(key=lambda index: (len(servers[index].name.encode()), servers[index].name.encode()))
        weighted = distribution != "magent-ketama"
        self.slots = [index for index in order for _ in range(servers[index].weight if weighted else 1)]
        self.points: list[Point] = []
        if distribution == "ketama" or (
            distribution == "consistent" and any(server.weight > 1 for server in servers)
        ):
            self.points = ketama_points(servers)
        elif distribution == "consistent":
            self.points = consistent_points(servers, key_hash)
        elif distribution == "magent-ketama":
            self.points = magent_points(servers)

    def find(self, key_hash: int, key: bytes, but_not: int | None = None) -> int:
        if self.distribution == "rendezvous":
            candidates = [index for index in range(len(self.servers)) if index != but_not]
            return max(candidates, key=lambda index: rendezvous_score(self.servers[index], key_hash))
        if self.distribution == "magent-ketama" and key_hash == 0:
            slot = hashing.djb(key) % len(self.slots)
        elif self.distribution == "modula":
            slot = key_hash % len(self.slots)
        elif self.distribution == "jump":
            slot = jump(key_hash, len(self.slots))
        else:
            found = walk(self.points, key_hash, but_not)
            return found if found is not None else ((but_not or 0) + 1) % len(self.servers)
        return next(index for index in self.slots[slot:] + self.slots[:slot] if index != but_not)


class PlainPlacement:
    def __init__(
        self,
        servers: list[tuple[str, str, int, int]],
        backups: list[tuple[str, str, int, int]],
        distribution: str,
        key_hash: str,
        hash_tag: bytes = b"",
        copies: int = 1,
    ) -> None:
        self.key_hash = hashing.KEY_HASHES[key_hash]
        self.servers = PlainRing([Server(*server) for server in servers], distribution, self.key_hash)
        self.backups = PlainRing([Server(*server) for server in backups], distribution, self.key_hash)
        self.hash_tag = hash_tag
        self.copies = copies

    def hashed_part(self, key: bytes) -> bytes:
        if self.hash_tag:
            _, opening, rest = key.partition(self.hash_tag[:1])
            part, closing, _ = rest.partition(self.hash_tag[1:])
            if opening and closing and part:
                return part
        return key

    def locate(self, key: bytes) -> tuple[int, int]:
        part = self.hashed_part(key)
        key_hash = self.key_hash(part)
        owner = self.servers.find(key_hash, part)
        if self.backups.servers:
            return owner, self.backups.find(key_hash, part)
        if self.copies == 2 and len(self.servers.servers) > 1:
            return owner, self.servers.find(key_hash, part, but_not=owner)
        return owner, -1
