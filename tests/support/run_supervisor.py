"""The supervisor alone: python -m tests.support.run_supervisor CONFIG-AS-JSON [WORKER-MODULE]."""

import json
import sys

from memagent.errors import StartError
from memagent.processes import WORKER_MODULE
from memagent.settings import Config
from memagent.supervisor import run


def main(config: str, worker_module: str = WORKER_MODULE) -> int:
    try:
        return run(Config.model_validate(json.loads(config)), worker_module)
    except StartError as error:
        sys.stderr.write(f"{error.message}\n{error.hint or ''}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
