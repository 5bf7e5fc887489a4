"""Found once for each pool, until it changes."""

from memagent.admin.per_pool import PerPool
from memagent.settings import PoolConfig


def pool(name: str, *servers: str) -> PoolConfig:
    return PoolConfig.model_validate({"name": name, "servers": list(servers)})


def test_remembered_until_the_pool_changes():
    asked: list[PoolConfig] = []

    def find(given: PoolConfig) -> int:
        asked.append(given)
        return len(asked)

    found = PerPool(find)
    one, other = pool("a", "10.0.0.1:1"), pool("b", "10.0.0.1:1")
    assert found.known(one) is None
    assert [found.of(one), found.of(pool("a", "10.0.0.1:1")), found.of(other), found.of(one)] == [1, 1, 2, 1]
    assert found.known(one) == 1
    changed = pool("a", "10.0.0.2:1")
    assert found.known(changed) is None
    assert found.of(changed) == 3
    assert (found.known(changed), found.known(one)) == (3, None)
    assert asked == [one, other, changed]
