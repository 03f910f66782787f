#!/usr/bin/env python3
"""Many sessions at once, and what one costs: memory, processor time, and the time of a client beside slow ones.

    cargo build --release -p angarium
    tests/bench/sessions.py [--sessions 10000] [--slow 5000] [--asleep 2000] [--program PATH]
    tests/bench/sessions.py --only asleep

A server of one process listens on loopback, without a queue to speak of. Memory is the growth of its proportional share
(Pss) from no session to all of them, each behind EHLO, once in clear and once with STARTTLS. Processor time is that of
the server's process, from /proc. A rejection is a line of RCPT that a script rejects, sent in groups of 100. The
slow clients each send a byte of a command every few seconds; beside them a normal one says EHLO, MAIL, RCPT to a script
that rejects, and QUIT, again and again. Sessions asleep all wait in `sleep(1)` of the rcptto hook of a server with
one worker thread: measured from the first RCPT that is sent to the last answer. Needs openssl, and a
thousand open files more than sessions, in both processes.
"""

import argparse
import json
import os
import resource
import select
import selectors
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICK = os.sysconf("SC_CLK_TCK")


class Server:
    def __init__(self, program, folder, sessions, workers=None):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        source = folder / "src"
        (source / "config").mkdir(parents=True)
        (source / "hooks" / "rcptto").mkdir(parents=True)
        (source / "hooks" / "rcptto" / "default.hsl").write_text(
            'if ($transaction["senderaddress"]["domain"] == "example.net") Reject("no such user");\n'
            'if ($arguments["address"]["localpart"] == "sleeper") sleep(1);\nAccept();\n'
        )
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=relay.example", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
            check=True, capture_output=True,
        )
        startup = {
            "version": "6.0",
            "environment": {"rlimit": {"nofile": sessions + 2000}},
            "servers": [{"id": "default", "listeners": [{"port": self.port, "address": "127.0.0.1", "backlog": 4096}]}],
            "spool": {"path": "spool/queue", "tmp": "spool/tmp", "minfree": {"bytes": 0, "inodes": 0}},
            "pki": {"private": [{"id": "own", "privatekey": {"path": str(folder / "key.pem")},
                                 "certificate": {"path": str(folder / "cert.pem")}}]},
        }
        if workers:
            startup["servers"][0]["threads"] = {"event": workers}
        running = {
            "version": "6.0",
            "servers": [{
                "id": "default", "hostname": "relay.example", "remoteptr": False, "transport": "out",
                "concurrency": {"total": sessions * 2}, "tls": {"certs": {"cert": "own"}},
                "timeout": {"idle": 3600, "command": 3600},
                "limits": {"errors": 1000000, "commands": 1000000},
                "phases": {"rcptto": {"hook": "default"}},
            }],
            "transportgroups": [{"id": "default", "transports": [{"id": "out", "connection": {"server": "127.0.0.1"}}]}],
        }
        (source / "config" / "smtpd.yaml").write_text(json.dumps(startup))
        (source / "config" / "smtpd-app.yaml").write_text(json.dumps(running))
        log = open(folder / "log", "wb")
        self.process = subprocess.Popen([program, "serve", folder], stdout=log, stderr=log, cwd=folder)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                self.client().close()
                return
            except OSError:
                time.sleep(0.05)
        sys.exit((folder / "log").read_text())

    def client(self):
        client = socket.create_connection(("127.0.0.1", self.port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reply(client)
        return client

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def memory(self):
        """Bytes."""
        for line in Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        return 0

    def cpu(self):
        """Seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK


def reply(client):
    """The last line of a reply."""
    text = b""
    while True:
        part = client.recv(4096)
        if not part:
            raise OSError("the server has closed the connection")
        text += part
        lines = text.split(b"\r\n")
        if len(lines) > 1 and lines[-1] == b"" and lines[-2][3:4] == b" ":
            return lines[-2]


def command(client, line):
    client.sendall(line + b"\r\n")
    return reply(client)


def idle(server, count, tls):
    """Bytes of a session, and how many were opened a second."""
    context = ssl._create_unverified_context()
    before, begun, clients = server.memory(), time.monotonic(), []
    for _ in range(count):
        client = server.client()
        command(client, b"EHLO client.example")
        if tls:
            command(client, b"STARTTLS")
            client = context.wrap_socket(client, server_hostname="relay.example")
            command(client, b"EHLO client.example")
        clients.append(client)
    passed = time.monotonic() - begun
    time.sleep(1)
    grown = server.memory() - before
    for client in clients:
        client.close()
    time.sleep(1)
    return grown / count, count / passed


def connections(server, seconds):
    """Connections a second, and processor time of each."""
    begun, cpu, count = time.monotonic(), server.cpu(), 0
    children = []
    for _ in range(2):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            own = 0
            while time.monotonic() - begun < seconds:
                client = server.client()
                command(client, b"QUIT")
                client.close()
                own += 1
            os.write(write, str(own).encode())
            os._exit(0)
        children.append((child, read))
    for child, read in children:
        os.waitpid(child, 0)
        count += int(os.read(read, 64))
    return count / (time.monotonic() - begun), (server.cpu() - cpu) / count


def rejections(server, count):
    """Processor time of a RCPT that a script rejects."""
    client = server.client()
    command(client, b"EHLO client.example")
    command(client, b"MAIL FROM:<a@example.net>")
    group = b"".join(b"RCPT TO:<user%d@example.org>\r\n" % number for number in range(100))
    cpu = server.cpu()
    for _ in range(count // 100):
        client.sendall(group)
        left, text = 100, b""
        while left:
            text += client.recv(65536)
            *lines, text = text.split(b"\r\n")
            if any(line[:2] != b"55" for line in lines):
                sys.exit(f"not rejected: {lines}")
            left -= len(lines)
    used = server.cpu() - cpu
    client.close()
    return used / count


def latency(server, count):
    """Seconds of short sessions."""
    times = []
    for _ in range(count):
        begun = time.monotonic()
        client = server.client()
        for line in (b"EHLO client.example", b"MAIL FROM:<a@example.net>", b"RCPT TO:<b@example.org>", b"QUIT"):
            command(client, line)
        client.close()
        times.append(time.monotonic() - begun)
    return times


def beside_slow(server, slow, count):
    """The times of sessions, quiet and beside `slow` clients."""
    quiet = latency(server, count)
    clients = [server.client() for _ in range(slow)]
    child = os.fork()
    if child == 0:
        while True:
            for number, client in enumerate(clients):
                client.send(b"N" if number % 2 else b"E")
                if number % 10 == 0:
                    select.select([], [], [], 0.005)
    busy = latency(server, count)
    os.kill(child, 9)
    os.waitpid(child, 0)
    for client in clients:
        client.close()
    return quiet, busy


def asleep(server, count):
    """From the first RCPT to the last of the answers that a script gives after a second, and processor time of all."""
    clients = [server.client() for _ in range(count)]
    for client in clients:
        client.sendall(b"EHLO client.example\r\nMAIL FROM:<a@example.org>\r\n")
    for client in clients:
        text = b""
        while b"\r\n250 2.1.0" not in text or not text.endswith(b"\r\n"):
            text += client.recv(4096)
    poll = selectors.DefaultSelector()
    for client in clients:
        poll.register(client, selectors.EVENT_READ)
    cpu, begun = server.cpu(), time.monotonic()
    for client in clients:
        client.sendall(b"RCPT TO:<sleeper@example.net>\r\n")
    sent, left, first = time.monotonic() - begun, count, None
    while left:
        for key, _ in poll.select():
            text = key.fileobj.recv(4096)
            if not text.startswith(b"250 2.1.5"):
                sys.exit(f"not accepted: {text}")
            first = first or time.monotonic() - begun
            left -= 1
    last, cpu = time.monotonic() - begun, server.cpu() - cpu
    for client in clients:
        client.close()
    return sent, first, last, cpu


def p99(times):
    return statistics.quantiles(times, n=100)[98]


def whole(options, program, folder):
    """Memory, processor time, and a client beside slow ones."""
    server = Server(program, folder, options.sessions)
    try:
        # What the first sessions make lasts.
        idle(server, 200, True)
        for tls in (False, True):
            grown, rate = idle(server, options.sessions, tls)
            kind = "TLS" if tls else "plain"
            print(f"{options.sessions} idle sessions, {kind}: {grown / 1024:.1f} KiB each, {rate:.0f} opened a second", flush=True)
        rate, cpu = connections(server, 5)
        print(f"connect and QUIT: {rate:.0f} a second, {cpu * 1e6:.0f} µs of processor time each", flush=True)
        print(f"a RCPT that a script rejects: {rejections(server, 100000) * 1e6:.1f} µs of processor time", flush=True)
        quiet, busy = beside_slow(server, options.slow, 2000)
        print(f"a session: p99 {p99(quiet) * 1e3:.2f} ms quiet, {p99(busy) * 1e3:.2f} ms beside {options.slow} slow clients", flush=True)
    finally:
        server.stop()


def sleepers(options, program, folder):
    """Sessions that wait in a script, on one worker."""
    server = Server(program, folder, options.asleep, workers=1)
    try:
        for _ in range(3):
            sent, first, last, cpu = asleep(server, options.asleep)
            print(
                f"{options.asleep} sessions in sleep(1) on one worker: RCPT sent within {sent:.3f} s, first answer after {first:.3f} s,"
                f" last after {last:.3f} s; {cpu / options.asleep * 1e6:.0f} µs of processor time each", flush=True
            )
    finally:
        server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=10000)
    parser.add_argument("--slow", type=int, default=5000)
    parser.add_argument("--asleep", type=int, default=2000)
    parser.add_argument("--only", choices=["whole", "asleep"])
    parser.add_argument("--program", default=ROOT / "target" / "release" / "angarium")
    options = parser.parse_args()
    files = max(options.sessions, options.slow, options.asleep) + 1000
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, most)))
    program = Path(options.program).resolve()
    for name, part in (("whole", whole), ("asleep", sleepers)):
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                part(options, program, Path(folder))


if __name__ == "__main__":
    main()
