"""Real parts for tests: memcached servers, proxies, a raw client, a relay that misbehaves on command."""
