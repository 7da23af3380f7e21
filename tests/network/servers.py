#!/usr/bin/env python3
"""Servers in the network that a pod is connected to, and a record of all that comes out of the pod.

usage: servers.py INTERFACE

Answers on TCP ports 80, 443 and 5432 with the address that was called, and on UDP port 5000 with what
came; other ports are closed. Every packet that arrives on INTERFACE is written as a line: protocol,
address, port. Begins with the line "ready"; "lost" says that the record is not complete.
"""
import contextlib
import mmap
import select
import socket
import struct
import sys
import threading

TCP = [80, 443, 5432]
UDP = [5000, 53]


def tell(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def converse(connection, name):
    # Being cut off in the middle is what some tests are about.
    with connection, contextlib.suppress(ConnectionError):
        while data := connection.recv(4096):
            connection.sendall(name + b" " + data)


def serve_tcp(port):
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", port))
    listener.listen(64)

    def accept():
        while True:
            connection, _ = listener.accept()
            name = connection.getsockname()[0].removeprefix("::ffff:").encode()
            threading.Thread(target=converse, args=(connection, name), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def serve_udp(port):
    # With an address for each answer: a reply from another one would not be taken.
    for family, addresses in ((socket.AF_INET, sys.argv[2].split(",")), (socket.AF_INET6, sys.argv[3].split(","))):
        for address in addresses:
            server = socket.socket(family, socket.SOCK_DGRAM)
            server.bind((address, port))

            def answer(server=server):
                while True:
                    data, peer = server.recvfrom(4096)
                    server.sendto(data, peer)

            threading.Thread(target=answer, daemon=True).start()


# packet(7) and linux/if_packet.h. A ring has room for what comes while nobody gets to read it, which the
# buffer of a socket has not: that is limited for everybody but the host's root.
SOL_PACKET, PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION, PACKET_IGNORE_OUTGOING = 263, 5, 6, 10, 23
TPACKET_V2, TP_STATUS_KERNEL, TP_STATUS_USER = 1, 0, 1
FRAME, FRAMES, BLOCK = 256, 1 << 16, 1 << 16


def describe(frame):
    kind, = struct.unpack("!H", frame[12:14])
    packet = frame[14:]
    if kind == 0x0800:
        protocol, rest = packet[9], packet[(packet[0] & 15) * 4:]
        address = socket.inet_ntop(socket.AF_INET, packet[16:20])
    elif kind == 0x86DD:
        protocol, rest = packet[6], packet[40:]
        address = socket.inet_ntop(socket.AF_INET6, packet[24:40])
    else:
        return ""
    name = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}.get(protocol, str(protocol))
    port = struct.unpack("!H", rest[2:4])[0] if name in ("tcp", "udp") and len(rest) >= 4 else 0
    return f"{name} {address} {port}\n"


def record(interface):
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    packets.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V2)
    packets.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    blocks = FRAME * FRAMES // BLOCK
    packets.setsockopt(SOL_PACKET, PACKET_RX_RING, struct.pack("IIII", BLOCK, blocks, FRAME, FRAMES))
    ring = mmap.mmap(packets.fileno(), FRAME * FRAMES)
    packets.bind((interface, 3))
    arrives = select.poll()
    arrives.register(packets, select.POLLIN)
    tell("ready")
    at = 0
    while True:
        lines = []
        while len(lines) < 1000:
            status, _, length, place = struct.unpack_from("IIIH", ring, at)
            if not status & TP_STATUS_USER:
                break
            lines.append(describe(ring[at + place:at + place + length]))
            struct.pack_into("I", ring, at, TP_STATUS_KERNEL)
            at = (at + FRAME) % len(ring)
        # How many there were since this was asked, and how many were lost.
        if struct.unpack("II", packets.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]:
            tell("lost")
        if lines:
            sys.stdout.write("".join(lines))
            sys.stdout.flush()
        else:
            arrives.poll()


for port in TCP:
    serve_tcp(port)
for port in UDP:
    serve_udp(port)
record(sys.argv[1])
