"""What the container file says of the proxy. To build it takes images from the internet: not tried here."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable

from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.proxy import Proxy

TEXT = (ROOT / "contrib" / "container" / "Containerfile").read_text()


def health(port: int) -> subprocess.CompletedProcess[bytes]:
    """As it is asked for in the container."""
    found = re.search(r"^HEALTHCHECK .*CMD (\[.*\])$", TEXT, re.MULTILINE)
    assert found
    program, option, asks = json.loads(found[1])
    assert program == "python"
    asks = asks.replace("11211", str(port))
    return subprocess.run([sys.executable, option, asks], capture_output=True, timeout=30, check=False)


def test_its_health_is_what_a_client_sees(proxy_factory: Callable[..., Proxy]):
    proxy = proxy_factory(["127.0.0.1:1"])
    done = health(proxy.port)
    assert done.returncode == 0, done.stderr
    assert health(free_port()).returncode == 1


def test_its_environment_is_a_configuration():
    found = re.search(r"^ +MEMAGENT_LISTEN=(\S+)$", TEXT, re.MULTILINE)
    assert found
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    pool = {"MEMAGENT_POOLS__MAIN__SERVERS": "10.0.0.1,10.0.0.2"}
    given = {"PYTHONPATH": path, "MEMAGENT_LISTEN": found[1], **pool}
    done = subprocess.run(
        [sys.executable, "-m", "memagent", "check"],
        env={**os.environ, **given}, capture_output=True, timeout=30, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert found[1] in done.stdout


def test_nothing_in_it_takes_a_shell_or_root():
    last = TEXT.rpartition("\nFROM ")[2]
    lines = [line for line in last.splitlines() if re.match(r"(CMD|ENTRYPOINT|USER)\b", line)]
    assert lines == ["USER 11211:11211", 'ENTRYPOINT ["magent"]', 'CMD ["run"]']
