"""pylibmc, Debian's own, through the proxy: /usr/bin/python3 with_pylibmc.py HOST PORT."""

import sys

import pylibmc

host, port = sys.argv[1:]
cache = pylibmc.Client([f"{host}:{port}"], behaviors={"cas": True, "tcp_nodelay": True})

assert cache.set("py:a", {"one": [1, 2]})
assert cache.get("py:a") == {"one": [1, 2]}
assert cache.get("py:none") is None
assert not cache.add("py:a", 1)
assert not cache.replace("py:none", 1)
assert cache.set("py:s", b"b")
assert cache.append("py:s", b"c")
assert cache.prepend("py:s", b"a")
assert cache.get("py:s") == b"abc"

many = {f"py:many:{number}": number for number in range(500)}
assert cache.set_multi(many) == []
assert cache.get_multi([*many, "py:none"]) == many
assert cache.delete_multi(list(many))
assert cache.get_multi(list(many)) == {}

assert cache.set("py:n", 5)
assert cache.incr("py:n", 3) == 8
assert cache.decr("py:n", 100) == 0

assert cache.set("py:c", "first")
value, token = cache.gets("py:c")
assert value == "first"
assert cache.cas("py:c", "second", token)
assert not cache.cas("py:c", "third", token)
assert cache.get("py:c") == "second"

assert cache.touch("py:c", 1000)
assert not cache.touch("py:none", 1000)
large = bytes(range(256)) * 3900
assert cache.set("py:large", large)
assert cache.get("py:large") == large
try:
    cache.set("py:large", large * 2)
except pylibmc.Error:
    pass
else:
    raise AssertionError("a value that is too large was taken")
assert cache.delete("py:c")
assert not cache.delete("py:c")
assert len(cache.get_stats()) == 1
cache.disconnect_all()
print("done")
