"""What is printed of a violation: enough to understand it from one run."""

import time

from tests.chaos.history import SHOWN_FAULTS_S
from tests.chaos.models import Model, Violation
from tests.chaos.world import World

LOG_LINES = 40
LOG_S = 60.0
"""Of no key in particular: a server that does not come back has failed to long ago."""


def evidence(world: World, model: Model | None, violation: Violation) -> str:
    """The key's requests and the faults among them, how its servers stand and what they have, the log."""
    logged_s = time.monotonic() - violation.at + SHOWN_FAULTS_S
    if model is None:
        logged_s += LOG_S
        parts = [world.events.render(violation.at - LOG_S), f"servers:\n{world.describe_states()}"]
    else:
        nodes = world.nodes_of(model.key)
        parts = [
            model.history.render(world.events, violation.op),
            f"servers:\n{world.describe_states(*nodes)}",
            f"held {time.monotonic() - world.events.start:.4f}: {world.look_at_one(model.key)}",
        ]
    logged = world.logged(logged_s)
    if logged:
        parts.append("the proxy's log:")
        parts += logged[-LOG_LINES:]
    return "\n".join(part for part in parts if part)
