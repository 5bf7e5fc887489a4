"""The supervisor alone: python -m tests.support.run_supervisor CONFIG-AS-JSON [WORKER-MODULE].

BEAT_S in the environment: how often it looks at its workers' pulse.
"""

import json
import os
import sys

from memagent import pulse, supervisor
from memagent.config import Loaded
from memagent.errors import StartError
from memagent.layers import mapping
from memagent.processes import WORKER_MODULE
from memagent.settings import Config


def main(config: str, worker_module: str = WORKER_MODULE) -> int:
    pulse.BEAT_S = supervisor.BEAT_S = float(os.environ.get("BEAT_S", pulse.BEAT_S))  # type: ignore[misc]
    try:
        given = Config.model_validate(json.loads(config))
        return supervisor.run(given, lambda: Loaded(given, mapping("a test")), worker_module)
    except StartError as error:
        sys.stderr.write(f"{error.message}\n{error.hint or ''}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
