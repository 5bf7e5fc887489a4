"""`magent top`: the running proxy, live on a terminal.

    proxy ── Snapshot, Counts ──▶ rates ──▶ columns ──▶ screen ──▶ frame ──▶ terminal
               every second     per second  sorted,    what is   lines of      │
                                            as text    selected, the size      │
               what was agreed to ◀─────────────────── asked ◀── keys ─────────┘

    columns    THE table of columns: value, text, width
    screen     what is shown and what a key does to it
    frame      the screen as lines, for a terminal of any size
    keys       bytes from a terminal as keys
    terminal   the terminal itself: taken, drawn on, given back whatever happens
    live       the loop: readings, keys, signals
    proxy      the running proxy as all this sees it
    command    arguments -> a call

All but the last four decide without I/O. What happens between two readings is memagent.rates' business, and
what is asked before something is done that of memagent.questions. A proxy that goes away is told, sought
again, and its last numbers stay on the screen with their age.
"""
