"""What processes have used."""

import os
import time

from memagent.usage import usage_of


def test_our_own_processor_time_and_memory():
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    usage = usage_of(os.getpid())
    assert usage is not None
    spent = os.times()
    assert 0 < usage.user_s <= spent.user + 0.1
    assert usage.system_s <= spent.system + 0.1
    assert 2**20 < usage.resident_bytes < 2**40


def test_a_process_that_is_not_there_has_used_nothing():
    assert usage_of(0) is None
    assert usage_of(2**30) is None
