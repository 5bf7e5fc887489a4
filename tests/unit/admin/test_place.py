"""Where the control socket is."""

import os
from pathlib import Path

import pytest

from memagent.admin import place

UID = os.getuid()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /tmp."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(place, "_TEMPORARY", str(folder))
    return folder


def test_the_file_is_named_by_the_first_address():
    assert place.file_name("127.0.0.1:11211") == "memagent-11211.sock"
    assert place.file_name("[::1]:5") == "memagent-5.sock"
    assert place.file_name("unix:/a") != place.file_name("unix:/b")
    assert "/" not in place.file_name("unix:/a/b")


def test_what_the_environment_gives_comes_first_if_it_is_safe(tmp_path: Path, temporary: Path):
    service, session, open_to_all = tmp_path / "service", tmp_path / "session", tmp_path / "open"
    for folder in (service, session, open_to_all):
        folder.mkdir(0o700)
    open_to_all.chmod(0o777)
    both = {"RUNTIME_DIRECTORY": f"{service}:/other", "XDG_RUNTIME_DIR": str(session)}
    assert place.directory_of_proxy(both, UID) == str(service)
    assert place.directory_of_proxy({"XDG_RUNTIME_DIR": str(session)}, UID) == str(session)
    own = str(temporary / f"memagent-{UID}")
    for unsafe in (str(open_to_all), "relative", str(tmp_path / "not there")):
        assert place.directory_of_proxy({"XDG_RUNTIME_DIR": unsafe}, UID) == own


def test_a_directory_of_ones_own_is_made_and_found_again(temporary: Path):
    made = place.directory_of_proxy({}, UID)
    assert Path(made).stat().st_mode & 0o777 == 0o700
    assert place.directory_of_proxy({}, UID) == made
    assert str(Path(made, "memagent-7.sock")) in place.candidates("h:7", {}, [UID])


def test_somebody_elses_directory_is_not_trusted(temporary: Path, tmp_path: Path):
    own = temporary / f"memagent-{UID}"
    own.symlink_to(tmp_path)
    with pytest.raises(ValueError, match="only uid"):
        place.directory_of_proxy({}, UID)
    assert place.candidates("h:7", {"XDG_RUNTIME_DIR": str(own)}, [UID]).count(f"{own}/memagent-7.sock") == 0
    own.unlink()
    own.mkdir(0o777)
    own.chmod(0o777)
    with pytest.raises(ValueError, match="only uid"):
        place.directory_of_proxy({}, UID)


def test_who_seeks_makes_nothing(temporary: Path):
    place.candidates("h:7", {}, [UID])
    assert not list(temporary.iterdir())


def test_the_service_may_run_as_a_user_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "memagent"
    folder.mkdir(0o755)
    monkeypatch.setattr(place, "_SERVICE_DIRECTORY", str(folder))
    somebody = UID + 1
    assert place.candidates("h:7", {}, [somebody])[0] == f"{folder}/memagent-7.sock"
    folder.chmod(0o777)
    assert f"{folder}/memagent-7.sock" not in place.candidates("h:7", {}, [somebody])


def test_a_temporary_directory_that_is_given_or_not_there(tmp_path: Path):
    environ = {"TMPDIR": str(tmp_path)}
    own = str(tmp_path / f"memagent-{UID}")
    assert place.directory_of_proxy(environ, UID) == own
    assert f"{own}/memagent-7.sock" in place.candidates("h:7", environ, [UID])
    with pytest.raises(FileNotFoundError) as caught:
        place.directory_of_proxy({"TMPDIR": str(tmp_path / "none")}, UID)
    assert caught.value.filename == str(tmp_path / "none" / f"memagent-{UID}")
