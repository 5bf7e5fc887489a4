"""A model checker under faults: clients that know what each read may return, real servers that die.

    episode ──┬─ world      memcacheds, relays, a proxy and its workers; what `stats servers` says
              │             ──▶ pools (one, or two behind one address: which key lives where)
              ├─ schedule   which fault when, from the seed alone ──▶ faults (of servers and of the proxy)
              ├─ actors     clients at work ──▶ verbs (how they say it) ──▶ client (a connection)
              ├─ models     what each reply may be ──▶ holders (what is excused), history
              └─ evidence   what is printed of a violation

`models`, `holders` and `history` are pure: times are arguments, so that lying histories can test them.
"""
