"""Submits a message over HTTP as a proxy does that speaks version 2 of its protocol.

    http_behind_proxy.py http|https PORT CLIENT REQUESTS

Reads options.json and mail.eml, names CLIENT with port 4000, sends as many requests over one connection, and prints the
status and the body of each answer.
"""

import http.client
import ipaddress
import socket
import ssl
import struct
import sys
import uuid


def header(client):
    """A header of version 2 with a TLV."""
    address = ipaddress.ip_address(client)
    local = "192.0.2.1" if address.version == 4 else "2001:db8::1"
    body = address.packed + ipaddress.ip_address(local).packed + struct.pack("!HH", 4000, 80)
    body += struct.pack("!BH", 0x02, 7) + b"example"
    family = 0x11 if address.version == 4 else 0x21
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, family, len(body)) + body


def main():
    scheme, port, client, requests = sys.argv[1:]
    stream = socket.create_connection(("127.0.0.1", int(port)), timeout=30)
    stream.sendall(header(client))
    if scheme == "https":
        stream = ssl._create_unverified_context().wrap_socket(stream, server_hostname="localhost")
    connection = http.client.HTTPConnection("localhost")
    connection.sock = stream
    boundary = uuid.uuid4().hex
    body = b""
    for name, file, kind in (("options", "options.json", "application/json"), ("rfc822", "mail.eml", "message/rfc822")):
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: {kind}\r\n\r\n'
        body += head.encode() + open(file, "rb").read() + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    for _ in range(int(requests)):
        connection.request("POST", "/v1/submission", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
        answer = connection.getresponse()
        print(answer.status, answer.read().decode().strip(), flush=True)


main()
