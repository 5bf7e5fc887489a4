from collections.abc import Callable
from typing import Any, Literal, Self, final

from memagent._core.buffer import Memory
from memagent._core.channel import Channel
from memagent._core.identity import Identity
from memagent._core.journal import Journal
from memagent._core.latency import Histograms
from memagent._core.metrics import Block
from memagent._core.player import Player
from memagent._core.reply import ReplyParser
from memagent._core.standing import Standing
from memagent._core.turn import Turn

_State = Literal["up", "down", "returning", "warming"]

NAMES: tuple[str, ...]
GAUGE: tuple[int, ...]
HELD: int

@final
class Server:
    name: str
    index: int
    state: int
    up: bool
    has_copies: bool
    channels: list[Channel]
    heard_us: int
    probe_at_us: int
    standing: Standing
    joined: int
    fallen: bool
    held: bool
    on_change: Callable[[Server, _State, str], None] | None
    live_places: Callable[[], list[int]] | None
    journal: Journal
    player: Player
    degraded: int
    refilling: int
    on_played: Callable[[Server, bytes], None] | None
    lingering: int
    unsettled: bool
    emptied: bool
    identity: int
    meta: bool
    keeps_cas: bool
    epoch_offset_s: int
    def __new__(
        cls,
        name: str,
        index: int,
        counters: Block,
        turn: Turn,
        memory: Memory,
        parser: ReplyParser,
        *,
        n_channels: int = 1,
        seed: int = 1,
        has_copies: bool = False,
        standing: Standing | None = None,
        **limits: Any,
    ) -> Self: ...
    def configure(
        self,
        *,
        request_timeout_us: int = ...,
        failure_limit: int = 3,
        queue_requests: int = 65536,
        queue_bytes: int = ...,
        probe_min_us: int = ...,
        probe_max_us: int = ...,
        journal_keys: int = ...,
        journal_bytes: int = ...,
        latency: Histograms | None = None,
    ) -> None: ...
    def hold(self, reason: str) -> None: ...
    def release(self) -> None: ...
    def set_copies(self, has_copies: bool) -> None: ...
    def become_another(self, keep_data: bool) -> None: ...
    def owe_flush(self, reason: str) -> None: ...
    @property
    def is_readable(self) -> bool: ...
    @property
    def is_following(self) -> bool: ...
    @property
    def is_probing(self) -> bool: ...
    @property
    def state_name(self) -> _State: ...
    def miss(self, key: bytes) -> None: ...
    def miss_flush(self) -> None: ...
    def end_connections(self) -> None: ...
    def pass_time(self) -> None: ...
    def fail(self, reason: str) -> None: ...
    def ask_probe(self) -> None: ...
    def fail_probe(self) -> None: ...
    def greet(self, who: Identity) -> bool: ...
    def hear(self) -> None: ...
