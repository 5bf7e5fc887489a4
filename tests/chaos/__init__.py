"""A model checker under faults: clients that know what each read may return, real servers that die.

    episode ──┬─ world      memcacheds, relays, a proxy; what `stats servers` says of them
              ├─ faults     what is done to the servers, and when they are whole again
              ├─ actors     clients at work ──▶ client (a connection)
              └─ models     what each reply may be ──▶ holders (what is excused), history (what is printed)

`models`, `holders` and `history` are pure: times are arguments, so that lying histories can test them.
"""
