"""The running proxy, as magent's commands reach it: find its control socket, ask, listen to progress.

    --socket PATH ─────────────────────────────▶ that socket
    -c FILE ──▶ its control_socket, or where its first address leads ──▶ the first that is there
    neither ──▶ where a proxy on the default port would be, else the only one on this machine

memagent.admin has the language. Every wait is bounded: a proxy that says nothing for long has stopped.
"""

import contextlib
import json
import os
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from memagent.addresses import DEFAULT_PORT
from memagent.admin import place
from memagent.cli.flags import load_any
from memagent.counts import Counts
from memagent.errors import ConfigError, ControlError
from memagent.observed import Hot, Slow, Tapped
from memagent.settings import Config, ListenAddress
from memagent.snapshot import ServerSnapshot, Snapshot, from_json
from memagent.units import quoted

_Table = TypeVar("_Table")

_CONNECT_S: Final = 2.0
_SILENCE_S: Final = 15.0
_LONGEST_LINE_BYTES: Final = 64 * 1024 * 1024
_HOW_TO_FIND: Final = "is it running? say where: --socket PATH, or -c with the file it was started with"


class RunningProxy:
    """One connection. Made by `find` or `at`; use it in a `with`."""

    def __init__(self, connected: socket.socket, path: str) -> None:
        self._socket = connected
        self._file = connected.makefile("rb")
        self.path = path

    @classmethod
    def find(cls, socket_path: str | None, config_path: str | None) -> Self:
        """By what a command was given. ControlError if no proxy is there."""
        if socket_path is not None and config_path is not None:
            raise ConfigError("give either --socket or -c: both say where the proxy is")
        if config_path is None and socket_path is None:
            # a container without a file says it this way
            socket_path = os.environ.get("MEMAGENT_CONTROL_SOCKET")
        if socket_path is not None:
            return cls.at(socket_path)
        config = load_any(config_path) if config_path is not None else None
        listen = f"127.0.0.1:{DEFAULT_PORT}" if config is None else str(_first_of(config))
        paths = _paths(config, listen)
        there = [path for path in paths if os.path.lexists(path)]
        if not there and config is None:
            there = _any_socket(paths)
        if not there:
            where = f"no proxy listens at {paths[0]}" if paths else f"no proxy on {listen} was found"
            raise ControlError(where, _others(paths) or _HOW_TO_FIND)
        for path in there[:-1]:
            # what a proxy left that was killed
            with contextlib.suppress(ControlError):
                return cls.at(path)
        try:
            return cls.at(there[-1])
        except ControlError as error:
            if error.hint != _HOW_TO_FIND:
                raise
            raise ControlError(error.message, _others(paths) or _HOW_TO_FIND) from None

    @classmethod
    def at(cls, path: str) -> Self:
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(_CONNECT_S)
        try:
            connected.connect(path)
        except PermissionError:
            connected.close()
            raise ControlError(f"{path}: it is not yours to speak to", _whose(path)) from None
        except TimeoutError:
            connected.close()
            raise ControlError(f"the proxy at {path} does not answer", "is it stopped?") from None
        except (ConnectionRefusedError, FileNotFoundError):
            connected.close()
            raise ControlError(f"no proxy listens at {path}", _HOW_TO_FIND) from None
        except OSError as error:
            connected.close()
            why = (error.strerror or str(error)).lower()
            raise ControlError(f"no proxy listens at {path} ({why})", _HOW_TO_FIND) from None
        return cls(connected, path)

    # ------------------------------------------------------------ questions

    def ask(self, verb: str, **words: Any) -> dict[str, Any]:
        """The last line of the answer. ControlError with the proxy's own words where it refuses."""
        *_, last = self._lines(verb, words)
        return last

    def steps(self, verb: str, **words: Any) -> Iterator[dict[str, Any]]:
        """Every line of the answer, as it comes."""
        return self._lines(verb, words)

    def follow(self, verb: str, **words: Any) -> Iterator[ServerSnapshot | dict[str, Any]]:
        """The server as it goes along, then the last line."""
        for line in self._lines(verb, words):
            yield self._read(ServerSnapshot, line["progress"]) if "progress" in line else line

    def snapshot(self) -> Snapshot:
        return self._read(Snapshot, self.ask("snapshot").get("snapshot"))

    def counters(self) -> tuple[Snapshot, Counts]:
        """How everything stands and what was counted, at the same moment."""
        answer = self.ask("counters")
        return self._read(Snapshot, answer.get("snapshot")), self._read(Counts, answer.get("counts"))

    def metrics(self, accept: str) -> str:
        """What a scrape with this Accept header gets."""
        text = self.ask("metrics", accept=accept).get("text")
        if not isinstance(text, str):
            raise self._strange()
        return text

    def hot(self, count: int) -> Hot:
        return self._read(Hot, self.ask("hot", count=count).get("hot"))

    def slow(self, count: int) -> Slow:
        return self._read(Slow, self.ask("slow", count=count).get("slow"))

    def tap(self, words: dict[str, Any]) -> Iterator[Tapped]:
        """Live requests, until nobody asks for more."""
        for line in self._lines("tap", words):
            yield self._read(Tapped, line.get("progress"))

    def config(self) -> Config:
        """As it is in force now."""
        try:
            return Config.model_validate(self.ask("config").get("config"))
        except ValueError:
            raise self._strange() from None

    def server(self, answer: dict[str, Any]) -> ServerSnapshot:
        """What a last line says of the server that was asked about."""
        return self._read(ServerSnapshot, answer.get("server"))

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------ lines

    def _lines(self, verb: str, words: dict[str, Any]) -> Iterator[dict[str, Any]]:
        request = {"verb": verb, **{name: value for name, value in words.items() if value is not None}}
        try:
            text = json.dumps(request, ensure_ascii=False).encode() + b"\n"
        except UnicodeEncodeError as error:
            # the JSON parser of the other side would blame the JSON
            raise ConfigError(f"not UTF-8 text: {quoted(error.object[error.start : error.end])}") from None
        try:
            self._socket.settimeout(_SILENCE_S)
            self._socket.sendall(text)
            while True:
                line = self._line()
                if "error" in line:
                    raise ControlError(str(line["error"]), _hint(line), can_force=line.get("force") is True)
                yield line
                if "progress" not in line:
                    return
        except TimeoutError:
            raise ControlError(
                f"the proxy at {self.path} has said nothing for {_SILENCE_S:g} s", "what does its log say?"
            ) from None
        except OSError as error:
            raise ControlError(f"lost the proxy at {self.path}: {error.strerror or error}") from None

    def _line(self) -> dict[str, Any]:
        text = self._file.readline(_LONGEST_LINE_BYTES)
        if not text:
            raise ControlError(f"the proxy at {self.path} has hung up", "what does its log say?")
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            raise self._strange() from None
        if not isinstance(line, dict):
            raise self._strange()
        return line

    def _read(self, kind: type[_Table], value: Any) -> _Table:
        try:
            return from_json(kind, value)
        except ValueError:
            raise self._strange() from None

    def _strange(self) -> ControlError:
        return ControlError(
            f"what listens at {self.path} answers in a language that this command does not know",
            "are the proxy and this command of the same version? is it memagent's control socket?",
        )


def _first_of(config: Config) -> ListenAddress:
    """What the proxy goes by, too."""
    return next(iter(config.listens.values()))[0]


def _paths(config: Config | None, listen: str) -> list[str]:
    if config is None:
        return place.candidates(listen, os.environ, _uids(None))
    if config.control_socket is not None:
        return [config.control_socket]
    return place.candidates(listen, os.environ, _uids(config.user))


def _uids(user: str | None) -> list[int]:
    """Whose proxy it may be: ours, that of the user it runs as, root's."""
    uids = [os.getuid()]
    if user is not None:
        with contextlib.suppress(KeyError, OverflowError):
            uids.append(int(user) if user.isascii() and user.isdigit() else pwd.getpwnam(user).pw_uid)
    return [*dict.fromkeys([*uids, 0])]


def _any_socket(paths: list[str]) -> list[str]:
    """The socket of the only proxy in the usual directories, whatever its port."""
    found = _living(paths)
    if len(found) > 1:
        raise ControlError(
            f"{len(found)} proxies run here: {', '.join(found)}", "say which one: --socket PATH, or -c FILE"
        )
    return found


def _others(paths: list[str]) -> str:
    """Where proxies answer to which the file does not lead: it may say already what is not in force yet."""
    found = _living(paths)
    return f"is it one of these? --socket {' or --socket '.join(found)}" if found else ""


def _living(paths: list[str]) -> list[str]:
    """The sockets in these directories that somebody answers at."""
    folders = dict.fromkeys(Path(path).parent for path in paths)
    return [
        str(path) for folder in folders for path in sorted(folder.glob("memagent-*.sock")) if _is_alive(path)
    ]


def _is_alive(path: Path) -> bool:
    """Does anybody listen there? What may not be asked counts, so that its own error is shown."""
    with socket.socket(socket.AF_UNIX) as trial:
        trial.settimeout(_CONNECT_S)
        try:
            trial.connect(str(path))
        except PermissionError:
            return True
        except OSError:
            return False
    return True


def _whose(path: str) -> str:
    try:
        owner = pwd.getpwuid(os.stat(path).st_uid).pw_name
    except (OSError, KeyError):
        return "run this as the user that the proxy runs as, or as root"
    return f"run this as {owner}, as whom the proxy runs, or as root; you are {_our_name()}"


def _our_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # in a container, say
        return f"uid {os.getuid()}, which has no name"


def _hint(line: dict[str, Any]) -> str | None:
    hint = line.get("hint")
    force = "--force does it nevertheless" if line.get("force") else None
    return "; ".join(filter(None, [str(hint) if hint else None, force])) or None
