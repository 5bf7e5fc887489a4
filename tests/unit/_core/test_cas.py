"""Cas uniques as clients see them (behaviour section 2, cas tokens)."""

from tests.support.copies import Pair

GLOBAL, FOREIGN = 1 << 61, 1 << 62


def unique(pair: Pair, line: bytes = b"gets k\r\n") -> int:
    return int(pair.say(line).split()[4])


def test_the_owners_own_number_is_shown_as_it_is() -> None:
    pair = Pair()
    pair.say(b"set k 5 0 2\r\nv1\r\n")
    assert unique(pair) == pair.servers[0].store.writes[b"k"]


def test_one_of_the_copy_is_marked_and_fits_the_copy_while_it_decides() -> None:
    pair = Pair()
    pair.say(b"set k 5 0 2\r\nv1\r\n")
    pair.servers[0].die()
    marked = unique(pair)
    assert marked & FOREIGN
    assert marked < 1 << 63
    assert pair.say(b"cas k 5 0 2 %d\r\nv2\r\n" % marked) == b"STORED\r\n"


def test_one_of_the_owner_does_not_fit_the_copy() -> None:
    pair = Pair()
    pair.say(b"set k 5 0 2\r\nv1\r\n")
    own = unique(pair)
    pair.servers[0].die()
    assert pair.say(b"cas k 5 0 2 %d\r\nv2\r\n" % own) == b"EXISTS\r\n"
    assert pair.on(1, b"k") == b"v1"


def test_many_items_are_marked_each() -> None:
    pair = Pair()
    pair.say(b"set a 0 0 1\r\n1\r\nset b 0 0 1\r\n2\r\n")
    pair.lose(0, b"b")
    words = pair.say(b"gets a b c\r\n").split()
    assert words[0::6][:2] == [b"VALUE", b"VALUE"]
    assert not int(words[4]) & FOREIGN
    assert int(words[10]) & FOREIGN


def test_a_server_that_keeps_what_the_proxy_chooses_needs_no_mark() -> None:
    pair = Pair()
    for fake in pair.servers:
        fake.server.meta = fake.server.keeps_cas = True
    session = pair.someone.session
    assert session
    session.feed(b"set k 5 0 2\r\nv1\r\n")
    sent = [fake.wire.channel.output() for fake in pair.servers]
    assert sent[0] == sent[1]
    words = sent[0].split()
    assert words[:5] == [b"ms", b"k", b"2", b"T0", b"F5"]
    assert int(words[5][1:]) & GLOBAL
    assert int(words[5][1:]) < FOREIGN
    for fake in pair.servers:
        fake.wire.say(b"HD\r\n")
    assert pair.someone.session.output() == b"STORED\r\n"
