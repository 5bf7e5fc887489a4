"""The load generator behind `magent bench`: compiled, one thread, its own epoll loop."""
