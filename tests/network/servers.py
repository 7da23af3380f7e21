#!/usr/bin/env python3
"""Servers in the network that a pod is connected to, and a record of all that comes out of the pod.

usage: servers.py INTERFACE

Answers on TCP ports 80, 443 and 5432 with the address that was called, and on UDP port 5000 with what
came; other ports are closed. Every packet that arrives on INTERFACE is written as a line: protocol,
address, port. Begins with the line "ready"; "lost" says that the record is not complete.
"""
import contextlib
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


def record(interface):
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    packets.bind((interface, 0))
    tell("ready")
    while True:
        frame, origin = packets.recvfrom(65535)
        # packet(7), PACKET_STATISTICS: how many there were since this was asked, and how many were lost.
        if struct.unpack("II", packets.getsockopt(263, 6, 8))[1]:
            tell("lost")
        if origin[2] == socket.PACKET_OUTGOING:
            continue
        kind, = struct.unpack("!H", frame[12:14])
        packet = frame[14:]
        if kind == 0x0800:
            protocol, rest = packet[9], packet[(packet[0] & 15) * 4:]
            address = socket.inet_ntop(socket.AF_INET, packet[16:20])
        elif kind == 0x86DD:
            protocol, rest = packet[6], packet[40:]
            address = socket.inet_ntop(socket.AF_INET6, packet[24:40])
        else:
            continue
        name = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}.get(protocol, str(protocol))
        port = struct.unpack("!H", rest[2:4])[0] if name in ("tcp", "udp") and len(rest) >= 4 else 0
        tell(f"{name} {address} {port}")


for port in TCP:
    serve_tcp(port)
for port in UDP:
    serve_udp(port)
record(sys.argv[1])
