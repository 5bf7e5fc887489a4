"""memagent: a proxy that makes a set of memcached servers highly available."""

__version__ = "0.1.0"
