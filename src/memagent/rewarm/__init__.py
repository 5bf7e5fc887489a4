"""Fill a server that came back empty from the servers that hold its keys' copies: a process of its own.

`python -m memagent.rewarm` reads a job and later commands on stdin and writes reports to stdout (`job`).
"""
