"""Sends a descriptor to itself over a message bus, and prints what the descriptor that comes back holds.

bus.py SOCKET: the bus must admit anonymous clients, because the bridge has credentials of its own.
"""

import os
import socket
import struct
import sys


def text(value):
    data = value.encode()
    return struct.pack("<I", len(data)) + data + b"\0"


def signature(value):
    data = value.encode()
    return struct.pack("B", len(data)) + data + b"\0"


def aligned(data, to=8):
    return data + b"\0" * (-len(data) % to)


def call(serial, destination, member, body=b"", fds=0):
    interface = "org.freedesktop.DBus" if member == "Hello" else "org.example.Test"
    fields = [
        (1, "o", text("/org/freedesktop/DBus")),
        (2, "s", text(interface)),
        (3, "s", text(member)),
        (6, "s", text(destination)),
    ]
    if fds:
        fields += [(8, "g", signature("h")), (9, "u", struct.pack("<I", fds))]
    array = b""
    for code, kind, value in fields:
        array = aligned(array) + struct.pack("B", code) + signature(kind)
        array = aligned(array, 4 if kind in "osu" else 1) + value
    head = struct.pack("<BBBBIII", ord("l"), 1, 1, 1, len(body), serial, len(array))
    return aligned(head + array) + body


def line(bus):
    data = b""
    while not data.endswith(b"\r\n"):
        data += bus.recv(1)
    return data.decode().strip()


def ask(bus, question, expected):
    bus.sendall(question)
    answer = line(bus)
    assert answer.startswith(expected), answer


def main(path):
    bus = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bus.settimeout(20)
    bus.connect(path)
    ask(bus, b"\0AUTH ANONYMOUS\r\n", "OK")
    ask(bus, b"NEGOTIATE_UNIX_FD\r\n", "AGREE_UNIX_FD")
    bus.sendall(b"BEGIN\r\n" + call(1, "org.freedesktop.DBus", "Hello"))
    seen = b""
    while b":1." not in seen:
        seen += bus.recv(65536)
    start = seen.index(b":1.")
    name = seen[start : seen.index(b"\0", start)].decode()
    memory = os.memfd_create("bus")
    os.write(memory, b"over the bus")
    socket.send_fds(bus, [call(2, name, "Take", struct.pack("<I", 0), 1)], [memory])
    while True:
        data, fds, _, _ = socket.recv_fds(bus, 65536, 8)
        assert data, "the bus has left"
        if fds:
            break
    print(os.pread(fds[0], 100, 0).decode())


main(sys.argv[1])
