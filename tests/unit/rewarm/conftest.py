"""A re-warm in the test's own process, between servers in memory."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from memagent.rewarm.copier import Copier
from memagent.rewarm.job import Job, Report
from memagent.settings import PoolConfig
from tests.support.liar import Liar
from tests.support.meta_server import MetaServer

Run = Callable[..., Report]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


@pytest.fixture
def run(stack: ExitStack) -> Run:
    """`run(target, sources)` copies to the end; `during` sees every progress report and the copier.

    `patience_s` is for servers that fall silent: on a busy machine others may be silent for a moment too.
    """

    def copy(
        target: MetaServer,
        sources: list[MetaServer],
        *,
        during: Callable[[Copier, Report], None] = lambda copier, report: None,
        marks: bytearray | None = None,
        patience_s: float = 20.0,
        **settings: Any,
    ) -> Report:
        ports = [
            stack.enter_context(Liar(server.serve, says_who=False)).port for server in (target, *sources)
        ]
        addresses = [f"127.0.0.1:{port}" for port in ports]
        values = {"name": "main", "servers": addresses[:1], "backups": addresses[1:]}
        pool = PoolConfig.model_validate({**values, "request_timeout_ms": 10_000})
        job = Job(
            pool,
            0,
            tuple(range(1, len(addresses))),
            (("127.0.0.1",),) * len(addresses),
            **settings,
        )
        copier = Copier(
            job, None if marks is None else memoryview(marks), lambda report: during(copier, report)
        )
        copier._patience_s = patience_s
        return copier.run()

    return copy
