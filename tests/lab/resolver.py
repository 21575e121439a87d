#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""resolver.py LISTEN ANSWER: a DNS server at address LISTEN that knows ANSWER (IPv4) for every name
and answers nobody but LISTEN itself when that is a loopback address, as many local resolvers do."""
import ipaddress
import socket
import sys

listen, answer = sys.argv[1:]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((listen, 53))
while True:
    query, client = sock.recvfrom(512)
    if ipaddress.ip_address(listen).is_loopback and not client[0].startswith("127."):
        continue
    end = query.index(b"\0", 12) + 5
    is_a = query[end - 4:end - 2] == b"\0\1"
    reply = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + bytes(4) + query[12:end]
    if is_a:
        reply += b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + ipaddress.ip_address(answer).packed
    sock.sendto(reply, client)
