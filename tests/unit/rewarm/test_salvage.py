"""After the target was lost: what may be left at it."""

import pytest

from memagent._core.copies import Route, Tally
from memagent._core.warming import FETCH, STORE, Batch
from memagent.errors import ServerError
from memagent.rewarm.salvage import salvage
from memagent.rewarm.wire import Wire
from memagent.settings import ServerConfig
from tests.support.liar import Liar
from tests.support.meta_server import MetaServer, Stored
from tests.support.ports import free_port
from tests.support.warming import batch_of, hear


def stored(keys: list[bytes], meta: bool = True) -> Batch:
    batch = batch_of(keys, Route(Tally(), target_meta=meta))
    batch.fetch()
    hear(batch, FETCH, b"".join(b"VA 1 k%b f0 t-1 c1\r\nv\r\n" % key for key in keys))
    batch.stores()
    return batch


def connect(port: int) -> Wire:
    return Wire(ServerConfig.model_validate(f"127.0.0.1:{port}"), ["127.0.0.1"], 1.0, 1.0)


@pytest.mark.parametrize(("identity", "left"), [("1", 1), ("", 1), ("77", 4)])
@pytest.mark.parametrize("meta", [True, False])
def test_the_same_process_is_cleared_and_a_new_one_left_alone(meta: bool, identity: str, left: int) -> None:
    server = MetaServer({key: Stored(b"v") for key in (b"a", b"b", b"c", b"other")}, speaks_meta=meta)
    with Liar(server.serve, says_who=False) as liar:
        batches = [stored([b"a", b"b"], meta), stored([b"c"], meta)]
        assert salvage(batches, lambda: connect(liar.port), identity, 0.01) == 0
    assert len(server.items) == left


def test_out_of_reach_says_how_many() -> None:
    port = free_port()
    assert salvage([stored([b"a", b"b"]), stored([b"c"])], lambda: connect(port), "1", 0.01) == 3

    def refuse() -> Wire:
        raise ServerError("no")

    assert salvage([], refuse, "1", 60.0) == 0
    nothing = batch_of([b"a"], Route(Tally()))
    assert salvage([nothing], refuse, "1", 60.0) == 0


def test_one_that_breaks_off_again_is_tried_again() -> None:
    breaks = [None, None]
    server = MetaServer(
        {b"a": Stored(b"v")}, twist=lambda line, reply: breaks.pop() if line == b"mn" and breaks else reply
    )
    batch = stored([b"a"])
    hear(batch, STORE, b"MN\r\n")
    batch.finish()
    with Liar(server.serve, says_who=False) as liar:
        assert salvage([batch], lambda: connect(liar.port), "1", 0.01) == 0
    assert server.items == {}
