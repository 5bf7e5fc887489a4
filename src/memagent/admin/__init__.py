"""The control socket: how magent's commands speak to a running proxy.

A Unix socket of mode 0600 (`control_socket`; by default where `place` says). Both sides send JSON objects,
one a line. A connection carries requests one after another; each has any number of progress lines and then
exactly one last line:

    {"verb": "drain", "server": "cache-3"}
                                  {"progress": SERVER} ...
                                  {"ok": true, ...}   or   {"error": TEXT, "hint": TEXT or null}

SERVER is a snapshot.ServerSnapshot as JSON, SNAPSHOT a snapshot.Snapshot. A server is named by its name or
its address, and where that is not enough by "pool": NAME and "backup": true or false as well.
`wait` (default true): progress about every second, and the last line when it is done, or an error when
somebody else asks for the contrary meanwhile; false: the last line at once. A client that goes away stops
listening, and what it asked for goes on.

    verb           beside it                       the last line
    snapshot                                       {"ok", "snapshot": SNAPSHOT}
    metrics        accept                          {"ok", "content_type", "text"}
    counters                                       {"ok", "snapshot": SNAPSHOT, "counts": COUNTS}
    config                                         {"ok", "config": CONFIG, "addresses": [...]}
    reload                                         {"ok", "changes": [TEXT...], "waiting": [SETTING...],
                                                   "moving": [POOL...]}
    log_level      level, for_s                    {"ok", "level": "info" or "debug"}
    flush          pool, confirm                   {"ok"}
    hot            count                           {"ok", "hot": HOT}            the keys asked for most
    slow           count                           {"ok", "slow": SLOW}          what took long
    tap            prefix, server, of_verb, per_s  there is none                 live requests, as progress
    upgrade        force, ready_ms                 {"ok", "version", "pid"}      of the new one
    server         server                          {"ok", "server": SERVER}      as it is now
    flush_server   server, confirm                 {"ok", "server": SERVER}
    drain          server, force, wait             {"ok", "server": SERVER}      drained
    undrain        server, wait                    {"ok", "server": SERVER}      up again
    replace        server, address, force,         {"ok", "server": SERVER, "text": what to do}
                   keep_data, wait
    rewarm         server, wait                    {"ok", "server": SERVER}      with its `warm`
    rewarm_pause, rewarm_resume, rewarm_abort      {"ok", "server": SERVER}
                   server
    migration_pause, migration_resume,             {"ok", "migrations": [...]}   as in the snapshot
    migration_abort   pool

- CONFIG is settings.Config as JSON, as it is in force: what a replaced server is at now stands in it.
  `addresses`: for each server in its order the "host:port" (a name's IP addresses) or "unix:/path" tried now.
- HOT, SLOW: observed.Hot and observed.Slow as JSON. Progress of a tap is {"progress": TAPPED}, an
  observed.Tapped, every second and whenever there is something to show. A tap ends when its client goes away.
- reload: the files are read again and put in force; `waiting` has the settings that wait for the next start.
  `moving`: pools whose keys are on their way to other servers; `pool` of migration_* may be left out where it
  is the only one.
- COUNTS is a counts.Counts as JSON, read together with the snapshot.
- metrics: what a scrape of Prometheus gets that has `accept` for its Accept header.
- drain and replace are refused where keys would have no live copy: {"error", "hint", "force": true} says that
  "force": true in the request does it nevertheless.
- `keep_data` leaves in place what the new machine has; without it, it is flushed.
- rewarm of a server that is up takes it out of service until it is filled; its copies serve meanwhile.
- upgrade: what is installed now is started, takes over, and this proxy ends. Progress is {"stage": "starting"
  or "draining", "version", "pid": of the new one, "clients": that this one still has}. Nothing changes where
  it ends with an error. `ready_ms`: the longest that the new one may take to get ready. Not over HTTP.
- log_level: without `level` nothing changes; a level holds for so many seconds, and until the next reload
  or start at most.
- flush: what a client's flush_all does; flush_server: the same at one server. `confirm` must be "flush_all".
- What makes no sense is answered with an error too; only a line that never ends closes the connection.

    place        where the socket is
    requests     what may be asked
    doors        both doors, of which the first is
    door         the socket itself: lines in, lines out
    peer         who has connected to it
    audit        who asked for what, in the log
    metrics      what Prometheus is told
    families     metrics as text
    counting     all counters at one moment, for who computes rates
    otel         the same for an OpenTelemetry collector
    http         the second door, for the same verbs: HTTP, off unless `admin_listen` is set
    api          its paths, and what each asks; OpenAPI
    auth         who may look, who may act
    guesses      how often a token may be guessed
    guard        what stands before every path: host, token, size
    readiness    is there a live copy of every key?
    per_pool     what follows from a pool's configuration, found once
    keys         where one key is
    values       what a value looks like
    writing      a key set or deleted
    surveying    all keys of a pool, counted
    flushing     flush_all, asked as a client does
    session      a browser's token
    page         what is seen in a browser
"""
