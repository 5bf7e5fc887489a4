"""A conversation: replies belong to what was asked, in that order."""

import pytest

from memagent._core.copies import Route, Tally
from memagent._core.warming import ASK
from memagent.errors import ServerError
from memagent.rewarm.source import Source
from memagent.rewarm.talk import Talk, Trip
from memagent.rewarm.wire import Wire
from memagent.settings import PoolConfig, ServerConfig
from tests.support import liar
from tests.support.liar import Liar
from tests.support.wait import wait_until
from tests.support.warming import batch_of, listed


def talk_with(port: int) -> Talk:
    wire = Wire(ServerConfig.model_validate(f"127.0.0.1:{port}"), ["127.0.0.1"], 5.0, 5.0)
    wire.introduce()
    return Talk(wire, 0.0)


def trip() -> Trip:
    pool = PoolConfig.model_validate({"name": "main", "servers": ["127.0.0.1:1"], "backups": ["127.0.0.1:2"]})
    source = Source(pool, pool.backups[0], ("127.0.0.1",), listed(b""), Tally())
    return Trip(batch_of([b"a", b"b"], Route(source.tally)), source)


def introduction(talk: liar.Talk) -> None:
    talk.answer(talk.line())
    talk.answer(talk.line())


def test_replies_meet_their_own_batches_in_order() -> None:
    def script(talk: liar.Talk) -> None:
        introduction(talk)
        for reply in (b"HD O1\r\n", b"", b"HD O0\r\nHD O1\r\n"):
            while talk.line() != b"mn":
                pass
            talk.say(reply + b"MN\r\n")
        talk.silence()

    with Liar(script, says_who=False) as server:
        talk = talk_with(server.port)
        trips = [trip(), trip(), trip()]
        for each in trips:
            talk.say(each.batch.ask(), each, ASK, 1.0)
        talk.flush(1.0)
        heard: list[Trip] = []

        def all_heard() -> bool:
            heard.extend(each for each, step, is_complete in talk.hear(2.0) if is_complete and step == ASK)
            return len(heard) == 3

        wait_until(all_heard)
        talk.wire.close()
    assert heard == trips
    assert [each.batch.n_there for each in trips] == [1, 0, 2]
    assert talk.is_quiet
    assert talk.silent_s(100.0) == 0.0


def test_a_server_that_speaks_without_being_asked_is_not_to_be_trusted() -> None:
    def script(talk: liar.Talk) -> None:
        introduction(talk)
        talk.say(b"MN\r\n")
        talk.silence()

    with Liar(script, says_who=False) as server:
        talk = talk_with(server.port)

        def refused() -> bool:
            try:
                return bool(list(talk.hear(1.0)))
            except ServerError as error:
                return "nobody asked" in str(error)

        wait_until(refused)
        talk.wire.close()


def test_silence_counts_from_the_last_thing_that_moved() -> None:
    with Liar(liar.Talk.honest, says_who=False) as server:
        talk = talk_with(server.port)
        one = trip()
        talk.say(one.batch.ask(), one, ASK, 10.0)
        assert talk.silent_s(12.0) == 2.0
        talk.flush(13.0)
        assert talk.silent_s(14.0) == 1.0
        talk.excuse(14.0)
        assert talk.silent_s(14.5) == 0.5
        assert talk.drop() == [(one, ASK)]
        assert talk.silent_s(99.0) == 0.0
        talk.wire.close()
    with pytest.raises(ServerError):
        list(talk.hear(99.0))
