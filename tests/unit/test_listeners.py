"""The sockets that clients connect to."""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from memagent.activation import Activated
from memagent.errors import StartError
from memagent.listeners import Listeners
from memagent.settings import ListenAddress
from tests.support.ports import free_port

Bind = Callable[..., Listeners]


@pytest.fixture
def bind() -> Iterator[Bind]:
    made: list[Listeners] = []

    def bind(
        *addresses: str,
        workers: int = 1,
        owner: tuple[int, int] | None = None,
        handed: Sequence[socket.socket] = (),
    ) -> Listeners:
        listen = {"": [ListenAddress.model_validate(address) for address in addresses]}
        activated = Activated(handed)
        made.append(Listeners.bind(listen, workers, owner, activated=activated))
        activated.check_none_left()
        return made[-1]

    yield bind
    for each in made:
        each.close()


def test_each_worker_has_its_own_tcp_socket_and_shares_the_unix_one(bind: Bind, tmp_path: Path):
    port, path = free_port(), tmp_path / "s"
    listeners = bind(f"127.0.0.1:{port}", f"unix:{path}", workers=3)
    assert listeners.addresses == [f"127.0.0.1:{port}", f"unix:{path}"]
    fds = [[each.number for each in listeners.of_worker(worker)] for worker in range(3)]
    assert len({tcp for tcp, _ in fds}) == 3
    assert len({unix for _, unix in fds}) == 1
    assert [each.address for each in listeners.of_worker(0)] == listeners.addresses
    for each in listeners.of_worker(1):
        assert not os.get_blocking(each.number)
        assert not os.get_inheritable(each.number)
        with socket.socket(fileno=os.dup(each.number)) as copy:
            assert copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def test_each_socket_says_whose_it_is(tmp_path: Path):
    port, path = free_port(), tmp_path / "s"
    given = {"": [f"localhost:{port}"], "own": [f"unix:{path}", f"127.0.0.2:{port}"]}
    listen = {name: [ListenAddress.model_validate(each) for each in texts] for name, texts in given.items()}
    listeners = Listeners.bind(listen, 2)
    try:
        found = [(each.pool, each.address) for each in listeners.of_worker(1)]
        assert found[-2:] == [("own", f"unix:{path}"), ("own", f"127.0.0.2:{port}")]
        assert {pool for pool, _ in found[:-2]} == {""}
    finally:
        listeners.close()


def test_a_private_socket_is_for_its_owner_and_errors_name_the_setting(tmp_path: Path):
    address = ListenAddress.model_validate(f"unix:{tmp_path}/s")
    listeners = Listeners.bind({"": [address]}, 1, None, "admin_listen", private=True)
    assert stat.S_IMODE(os.stat(tmp_path / "s").st_mode) == 0o600
    [each] = listeners.sockets()
    assert each.getsockname() == f"{tmp_path}/s"
    with pytest.raises(StartError, match="admin_listen unix:"):
        Listeners.bind({"": [address]}, 1, None, "admin_listen")
    listeners.close()
    assert listeners.sockets() == []
    assert Listeners().sockets() == []


@pytest.mark.parametrize(("handed", "workers"), [(3, 3), (1, 3), (3, 2), (2, 3)])
def test_sockets_that_are_handed_over_are_dealt_and_none_is_left(bind: Bind, handed: int, workers: int):
    before = bind(f"127.0.0.1:{free_port()}", workers=handed)
    sockets = [socket.socket(fileno=os.dup(each.fileno())) for each in before.all()]
    after = bind(before.addresses[0], workers=workers, handed=sockets)
    fds = [[each.number for each in after.of_worker(worker)] for worker in range(workers)]
    assert {fd for each in fds for fd in each} == {each.fileno() for each in sockets}
    assert len({len(each) for each in fds}) == 1
    assert after.addresses == before.addresses
    assert {each.pool for worker in range(workers) for each in after.of_worker(worker)} == {""}


def test_the_file_of_a_handed_over_socket_is_whose_it_is_then(tmp_path: Path):
    path = tmp_path / "s"
    address = ListenAddress.model_validate(f"unix:{path}")
    older = Listeners.bind({"": [address]}, 2)

    def newer() -> Listeners:
        [each] = older.all()
        activated = Activated([each.dup()], files=older.files)
        return Listeners.bind({"": [address]}, 1, activated=activated)

    assert older.files == (str(path),)
    newer().close()
    assert path.exists()  # it did not come to it
    last = newer()
    last.take_over()
    older.forget()
    older.close()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    last.close()
    assert not path.exists()


def test_ipv4_and_ipv6_live_side_by_side_on_one_port(bind: Bind):
    port = free_port()
    listeners = bind(f"127.0.0.1:{port}", f"[::1]:{port}")
    assert listeners.addresses == [f"127.0.0.1:{port}", f"[::1]:{port}"]
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port), 5).close()


def test_every_address_of_both_families_on_one_port(bind: Bind):
    port = free_port()
    bind(f"0.0.0.0:{port}", f"[::]:{port}")
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port), 5).close()


def test_a_port_is_never_shared_with_another_proxy(bind: Bind):
    port = free_port()
    bind(f"127.0.0.1:{port}", workers=2)
    with pytest.raises(StartError, match="Address already in use"):
        bind(f"127.0.0.1:{port}", workers=2)


def test_what_was_bound_before_a_mistake_is_let_go(bind: Bind, tmp_path: Path):
    port, path = free_port(), tmp_path / "s"
    with pytest.raises(StartError, match="Cannot assign requested address"):
        bind(f"127.0.0.1:{port}", f"unix:{path}", "192.0.2.1:5")
    assert not path.exists()
    bind(f"127.0.0.1:{port}", f"unix:{path}")


@pytest.mark.parametrize(
    ("address", "match"),
    [
        ("no-such-name.invalid:5", "listen no-such-name.invalid:5: "),
        ("unix:/no/such/folder/s", "listen unix:/no/such/folder/s: No such file"),
    ],
)
def test_addresses_that_cannot_be_had(bind: Bind, address: str, match: str):
    with pytest.raises(StartError, match=match):
        bind(address)


def test_a_unix_file_that_is_another_ones_by_now_is_not_removed(bind: Bind, tmp_path: Path):
    path = tmp_path / "s"
    first = bind(f"unix:{path}")
    path.unlink()
    second = bind(f"unix:{path}")
    first.close()
    assert path.exists()
    second.forget()
    second.close()
    assert path.exists()


def test_a_unix_socket_goes_to_its_owner(bind: Bind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given: list[Any] = []
    monkeypatch.setattr(os, "chown", lambda *args: given.append(args))
    bind(f"unix:{tmp_path / 's'}", owner=(12, 34))
    assert given == [(str(tmp_path / "s"), 12, 34)]


def test_closed_listeners_refuse(bind: Bind):
    port = free_port()
    bind(f"127.0.0.1:{port}", workers=2).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


# ---------------------------------------------------------------- other addresses


def change(listeners: Listeners, **listen: Sequence[str]) -> list[str]:
    """What is listened on afterwards: the words of all pools as `all`."""
    given = {
        "" if pool == "all" else pool: [ListenAddress.model_validate(each) for each in addresses]
        for pool, addresses in listen.items()
    }
    listeners.settle(listeners.prepare(listeners.look_up(given)))
    listeners.close_left()
    return listeners.addresses


def numbers(listeners: Listeners) -> dict[str, list[int]]:
    """Of an address, over all workers."""
    found: dict[str, list[int]] = {}
    for worker in range(2):
        for each in listeners.of_worker(worker):
            found.setdefault(f"{each.pool} {each.address}", []).append(each.number)
    return found


def test_addresses_come_and_go_and_those_that_stay_keep_their_sockets(bind: Bind, tmp_path: Path):
    stays, goes, comes = (f"127.0.0.1:{free_port()}" for _ in range(3))
    old, new = f"unix:{tmp_path}/old", f"unix:{tmp_path}/new"
    listeners = bind(stays, goes, old, workers=2)
    before = numbers(listeners)[f" {stays}"]
    assert change(listeners, all=[comes, new, stays]) == [comes, new, stays]
    assert numbers(listeners)[f" {stays}"] == before
    for address in (comes, stays):
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(goes.rpartition(":")[2])), 5)
    assert [each.name for each in tmp_path.iterdir()] == ["new"]
    assert listeners.files == (f"{tmp_path}/new",)


def test_an_address_that_another_pool_gets_stays_open(bind: Bind):
    first, second = (f"127.0.0.1:{free_port()}" for _ in range(2))
    listeners = bind(first, second, workers=2)
    before = numbers(listeners)
    change(listeners, all=[second], own=[first])
    assert numbers(listeners) == {f" {second}": before[f" {second}"], f"own {first}": before[f" {first}"]}


def test_the_same_address_in_other_words_stays_open(bind: Bind):
    port = free_port()
    listeners = bind(f"127.0.0.1:{port}")
    before = numbers(listeners)
    localhost = {name[0] for *_, name in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)}
    assert len(change(listeners, all=[f"localhost:{port}"])) == len(localhost)
    assert set(*before.values()) <= {each for numbers in numbers(listeners).values() for each in numbers}


def test_any_address_and_one_of_it_follow_each_other(bind: Bind):
    port = free_port()
    listeners = bind(f"0.0.0.0:{port}", workers=2)
    for address in (f"127.0.0.1:{port}", f"0.0.0.0:{port}"):
        assert change(listeners, all=[address]) == [address]
        socket.create_connection(("127.0.0.1", port), 5).close()
    with pytest.raises(StartError, match="Address already in use"):
        change(listeners, all=[f"0.0.0.0:{port}", f"127.0.0.1:{port}"])


@pytest.mark.parametrize("bad", ["192.0.2.1:5", "unix:/no/such/folder/s", "no-such-name.invalid:5", "busy"])
def test_all_or_nothing(bind: Bind, tmp_path: Path, bad: str):
    path, port = tmp_path / "s", free_port()
    listeners = bind(f"127.0.0.1:{port}", workers=2)
    before = numbers(listeners)
    open_files = len(os.listdir("/proc/self/fd"))
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = bad.replace("busy", f"127.0.0.1:{busy.getsockname()[1]}")
        with pytest.raises(StartError, match=address):
            change(listeners, all=[f"unix:{path}", f"127.0.0.1:{free_port()}", address])
    assert numbers(listeners) == before
    assert not path.exists()
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_what_another_process_is_about_to_have_stays_as_it_is(bind: Bind):
    address, other = (f"127.0.0.1:{free_port()}" for _ in range(2))
    listeners = bind(address)
    listeners.pause()
    assert change(listeners, own=[address]) == [address]
    with pytest.raises(StartError, match="handed over to a new version"):
        change(listeners, all=[address, other])
    listeners.resume()
    assert len(change(listeners, all=[address, other])) == 2
    listeners.close()
    with pytest.raises(StartError, match="accepts no clients any more"):
        change(listeners, all=[other])
    assert listeners.of_worker(0) == ()


def test_more_and_fewer_workers_and_no_socket_is_closed(bind: Bind, tmp_path: Path):
    tcp, unix = f"127.0.0.1:{free_port()}", f"unix:{tmp_path}/s"
    listeners = bind(tcp, unix, workers=2)

    def shares() -> list[list[int]]:
        """Of the TCP sockets, for each worker."""
        return [
            [each.number for each in listeners.of_worker(worker) if each.address == tcp]
            for worker in range(listeners.workers)
        ]

    [[a], [b]] = shares()
    assert listeners.of_worker(2) == ()
    listeners.share_out(4)
    [*_, [c], [d]] = shares()
    assert shares()[:2] == [[a], [b]]
    assert [len(listeners.of_worker(worker)) for worker in range(5)] == [2, 2, 2, 2, 0]
    listeners.share_out(3)
    assert shares() == [[a, d], [b, d], [c, d]]
    listeners.share_out(2)
    assert shares() == [[a, c], [b, d]]
    listeners.share_out(1)
    assert shares() == [[a, b, c, d]]
    listeners.share_out(4)
    assert shares() == [[a], [b], [c], [d]]
    assert len(listeners.all()) == 5


def clients_of(listeners: Listeners) -> list[bool]:
    """Of 100 that come now: has each of the sockets got some of them?"""
    sockets = listeners.all()
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(sockets[0].getsockname(), 10))
        return [accepted(each) > 0 for each in sockets]


def accepted(listening: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            client, _ = listening.accept()
            client.close()
            count += 1
    return count


def test_a_socket_that_is_left_over_gets_no_more_clients(bind: Bind):
    tcp = f"127.0.0.1:{free_port()}"
    listeners = bind(tcp, workers=4)
    assert clients_of(listeners) == [True] * 4
    for workers, found in ((3, [True] * 3 + [False]), (2, [True] * 4), (3, [True] * 3 + [False])):
        listeners.share_out(workers)
        assert clients_of(listeners) == found
    # the next proxy may have another number of workers, and knows nothing of this one's
    for workers, found in ((4, [True] * 4), (3, [True] * 3 + [False])):
        before = clients_of(listeners)
        newer = bind(tcp, workers=workers, handed=[each.dup() for each in listeners.all()])
        assert clients_of(listeners) == before, "it may not come to that"
        newer.take_over()
        assert clients_of(newer) == found
    listeners.share_out(5)
    assert clients_of(listeners) == [True] * 5


def test_where_the_kernel_cannot_do_that_they_are_shared(bind: Bind, monkeypatch: pytest.MonkeyPatch):
    def too_old(*_: object) -> None:
        raise OSError(errno.ENOPROTOOPT, "")

    monkeypatch.setattr("memagent.listeners.give_to_first", too_old)
    listeners = bind(f"127.0.0.1:{free_port()}", workers=4)
    listeners.share_out(3)
    assert [len(listeners.of_worker(worker)) for worker in range(3)] == [2, 2, 2]


def test_sockets_that_let_none_beside_them_are_shared(bind: Bind):
    given = socket.create_server(("127.0.0.1", 0))
    listeners = bind(f"127.0.0.1:{given.getsockname()[1]}", workers=1, handed=[given])
    listeners.share_out(3)
    assert [[each.number for each in listeners.of_worker(worker)] for worker in range(3)] == [
        [given.fileno()]
    ] * 3


# ---------------------------------------------------------------- from systemd


def unix_server(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen()
    return made


def test_sockets_that_were_handed_over_are_shared_by_all_workers_and_the_rest_is_bound(
    bind: Bind, tmp_path: Path
):
    path, own = tmp_path / "s", free_port()
    ipv4, ipv6 = (
        socket.create_server(("127.0.0.1", 0)),
        socket.create_server(("::1", 0), family=socket.AF_INET6),
    )
    given = [unix_server(path), ipv6, ipv4]
    listen = [
        f"127.0.0.1:{ipv4.getsockname()[1]}", f"[::1]:{ipv6.getsockname()[1]}", f"unix:{path}",
        f"127.0.0.1:{own}",
    ]  # fmt: skip
    listeners = bind(*listen, workers=2, handed=given)
    assert listeners.addresses == listen
    first, second = ([each.number for each in listeners.of_worker(worker)] for worker in range(2))
    assert first[:3] == second[:3] == [ipv4.fileno(), ipv6.fileno(), given[0].fileno()]
    assert first[3] != second[3]
    listeners.close()
    assert [each.fileno() for each in given] == [-1, -1, -1]
    # systemd made the file, and goes on to listen there
    assert path.exists()


def test_nobody_else_may_connect_to_a_private_socket_of_systemds(tmp_path: Path):
    path = tmp_path / "s"
    address = ListenAddress.model_validate(f"unix:{path}")

    def bind_private(mode: int) -> Listeners:
        given = unix_server(path)
        path.chmod(mode)
        try:
            return Listeners.bind(
                {"": [address]}, 1, None, "admin_listen", private=True, activated=Activated([given])
            )
        finally:
            path.unlink()

    with pytest.raises(StartError, match=r"admin_listen unix:.*: others may connect") as caught:
        bind_private(0o666)
    assert caught.value.hint == "write SocketMode=0600 in the socket unit"
    bind_private(0o600).close()


def test_every_address_is_not_one_address(bind: Bind):
    with (
        socket.create_server(("0.0.0.0", 0)) as every,
        pytest.raises(StartError, match=r"names: 0\.0\.0\.0:"),
    ):
        bind(f"127.0.0.1:{free_port()}", handed=[every])
