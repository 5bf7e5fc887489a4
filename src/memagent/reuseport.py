"""Which of the sockets that share a port (SO_REUSEPORT) the kernel gives new clients to: some, each as often.

    ld random; mod COUNT; ret     a filter of three instructions, which the kernel asks for each new client

By itself the kernel takes all of them. What a socket has been given already stays with it. Sockets count in
the order in which they began to listen. Any user may attach such a filter, from Linux 4.6 on.
"""

import socket
import struct
from array import array
from typing import Final

_ATTACH: Final = 51  # SO_ATTACH_REUSEPORT_CBPF, which the socket module does not know
_LOAD, _MODULO, _RETURN = 0x20, 0x94, 0x16  # BPF_LD|BPF_W|BPF_ABS, BPF_ALU|BPF_MOD|BPF_K, BPF_RET|BPF_A
_RANDOM: Final = 2**32 - 0x1000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM


def give_to_first(one: socket.socket, count: int) -> None:
    """From now on to the first `count` of those that share the port with this one. OSError: as before."""
    steps = ((_LOAD, _RANDOM), (_MODULO, count), (_RETURN, 0))
    program = array("B", b"".join(struct.pack("=HBBI", code, 0, 0, value) for code, value in steps))
    address, _ = program.buffer_info()
    one.setsockopt(socket.SOL_SOCKET, _ATTACH, struct.pack("HP", len(steps), address))
