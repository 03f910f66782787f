#!/usr/bin/env python3
"""Relays the same messages through Angarium and through Postfix, in turns, and prints both.

    tests/bench/postfix.py [--sessions 1,20,100] [--sizes 4096,102400] [--messages 10000] [--rounds 5] [--dir FOLDER] [--stock]

Both servers listen on loopback, take every message with 250 only after a sync, and relay it to a sink on loopback.
Both spools lie in the same folder, so on the same disk. The load and the sink are one process of few instructions
(tests/examples/load.rs). CPU is that of all processes of a server, from /proc, those that have ended included. Memory
and syncs are taken in a round of their own, in which strace counts the syncs, so that neither costs time in the others:
memory is the most that all processes of a server had at one time, pages that several share counted once (Pss).

Postfix is a private instance with its own configuration and queue; the system's own is not touched. Its limits are
raised so that they never hold it back; --stock leaves them as Debian ships them. It is not installed by this script:

    apt-get install --no-install-recommends postfix

It needs root, since Postfix does. Nothing else listens: no TLS, no DNS, no content filter on either side. Postfix logs
to syslog, which costs it nothing where no syslog runs; Angarium logs to a file.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
TICK = os.sysconf("SC_CLK_TCK")

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.example
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
relayhost = [127.0.0.1]:{sink}
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_tls_security_level = none
smtp_tls_security_level = none
smtp_dns_support_level = disabled
disable_dns_lookups = yes
message_size_limit = 0
biff = no
"""

# What could hold it back on loopback.
TUNED = """\
default_process_limit = 300
smtp_destination_concurrency_limit = 100
initial_destination_concurrency = 100
default_destination_rate_delay = 0s
in_flow_delay = 0
qmgr_message_active_limit = 100000
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtp_connection_cache_destinations = 127.0.0.1
smtp_connection_reuse_count_limit = 100
"""

MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""

# A script decides what is queued, another that connections to the sink are kept, as Postfix keeps them.
SCRIPTS = {
    "eod/default.hsl": """\
foreach ($transaction["recipients"] as $recipient)
    $arguments["mail"]->queue($transaction["senderaddress"], $recipient["address"], $recipient["transportid"]);
Accept();
""",
    "queue/predelivery.hsl": """\
Try(["pooling" => ["enabled" => true, "transactions" => 100]]);
""",
}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_greeting(port, process=None):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if process and process.poll() is not None:
            sys.exit(f"the server ended: {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                if client.recv(512).startswith(b"220"):
                    client.sendall(b"QUIT\r\n")
                    return
        except OSError:
            pass
        time.sleep(0.02)
    sys.exit(f"nobody greets on port {port}")


def stat(pid):
    """Parent and the seconds of CPU of a process and of its ended children."""
    with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[1]), sum(map(int, fields[11:15])) / TICK


def family(root):
    """A process and all its descendants, with the seconds of CPU of each and of its ended children."""
    processes = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                processes[int(name)] = stat(int(name))
            except (FileNotFoundError, ProcessLookupError):
                pass
    found, new = set(), {root}
    while new:
        found |= new
        new = {pid for pid, (parent, _) in processes.items() if parent in new} - found
    return {pid: processes[pid][1] for pid in found if pid in processes}


def cpu(root):
    """Seconds of CPU of a process and all its descendants, those that have ended included."""
    return sum(family(root).values())


def memory(root):
    """Bytes that a process and all its descendants have now."""
    total = 0
    for pid in family(root):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += sum(1024 * int(line.split()[1]) for line in file if line.startswith("Pss:"))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


class Watch:
    """Notes the most memory of a server until it is left."""

    def __init__(self, root):
        self.root, self.most, self.over = root, 0, threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while True:
            self.most = max(self.most, memory(self.root))
            if self.over.wait(0.1):
                return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def counted(file):
    """What goes before a command so that its syncs are counted."""
    calls = "fsync,fdatasync,sync,syncfs,sync_file_range,msync"
    return ["strace", "-f", "--seccomp-bpf", "-qq", "-c", "-U", "name,calls", "-e", f"trace={calls}", "-o", file]


def count(file):
    with open(file) as text:
        rows = [line.split() for line in text]
    return sum(int(row[1]) for row in rows if len(row) == 2 and row[0] in ("fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"))


class Postfix:
    name = "Postfix"

    def __init__(self, folder, sink, stock, before=()):
        self.dir, self.port = folder, free_port()
        for part in ("", "queue", "data", "conf"):
            os.makedirs(os.path.join(folder, part), exist_ok=True)
        shutil.chown(os.path.join(folder, "data"), "postfix")
        self.conf = os.path.join(folder, "conf")
        with open(os.path.join(self.conf, "main.cf"), "w") as file:
            file.write(MAIN_CF.format(dir=folder, sink=sink) + ("" if stock else TUNED))
        with open(os.path.join(self.conf, "master.cf"), "w") as file:
            file.write(MASTER_CF.format(port=self.port))
        # Its parent ends at once; whoever counts its syncs stays.
        log = os.path.join(folder, "start")
        with open(log, "w") as output:
            self.process = subprocess.Popen([*before, "postfix", "-c", self.conf, "start"], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        if not before and self.process.wait():
            with open(log) as text:
                sys.exit(f"postfix does not start: {text.read()}")
        wait_greeting(self.port)
        with open(os.path.join(folder, "queue", "pid", "master.pid")) as file:
            self.pid = int(file.read())

    def stop(self):
        subprocess.run(["postfix", "-c", self.conf, "stop"], capture_output=True)
        self.process.wait()

    @staticmethod
    def version():
        return subprocess.run(["postconf", "-h", "mail_version"], capture_output=True, text=True).stdout.strip()


class Angarium:
    name = "Angarium"

    def __init__(self, folder, sink, program, scripts, before=()):
        self.port = free_port()
        server = {"id": "default", "type": "smtp", "hostname": "angarium.example", "remoteptr": False, "transport": "out", "phases": {}}
        if "eod" in scripts:
            server["phases"]["eod"] = {"hook": "default"}
        files = {
            "config/smtpd.yaml": {
                "version": "6.0",
                "servers": [{"id": "default", "type": "smtp", "listeners": [{"port": self.port, "address": "127.0.0.1"}]}],
                "spool": {"path": "spool/queue", "tmp": "spool/tmp"},
            },
            "config/smtpd-app.yaml": {
                "version": "6.0",
                "servers": [server],
                "transportgroups": [
                    {"id": "default", "transports": [{"id": "out", "connection": {"server": "127.0.0.1", "port": sink}}]}
                ],
            },
        }
        for name, content in files.items():
            path = os.path.join(folder, "src", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                json.dump(content, file, indent=2)
        for name, script in SCRIPTS.items():
            if name.split("/")[0] in scripts:
                path = os.path.join(folder, "src/hooks", name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w") as file:
                    file.write(script)
        self.log = open(os.path.join(folder, "log"), "w")
        self.process = subprocess.Popen([*before, program, "serve", folder], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            wait_greeting(self.port, self.process)
        except SystemExit:
            with open(self.log.name) as log:
                print(log.read(), file=sys.stderr)
            raise
        # Behind whoever counts its syncs.
        self.pid = max(family(self.process.pid)) if before else self.process.pid

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        try:
            self.process.wait(45)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def measure(load, server, sink, sessions, messages, size):
    before = cpu(server.pid)
    output = subprocess.run(
        [load, "--target", f"127.0.0.1:{server.port}", "--listen", f"127.0.0.1:{sink}", "--sessions", str(sessions),
         "--messages", str(messages), "--size", str(size)],
        capture_output=True, text=True)
    if output.returncode:
        sys.exit(f"{server.name}: {output.stdout}{output.stderr}")
    used = cpu(server.pid) - before
    times = json.loads(output.stdout)
    return {"accepted": messages / times["accepted"], "relayed": messages / times["delivered"], "cpu": 1000 * used / messages,
            "p50": times["p50"], "p99": times["p99"]}


def build(package, *arguments):
    subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", "-p", package, *arguments], cwd=ROOT, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", default="1,20,100", help="numbers of sessions, a row each")
    parser.add_argument("--sizes", default="4096,102400", help="bytes of a message, a table each")
    parser.add_argument("--messages", type=int, default=10000,
                        help="messages of 4 KiB in each round; a fifth of them for larger ones, a tenth for a session alone")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; one more before them is not counted")
    parser.add_argument("--no-counts", action="store_true", help="leave out memory and syncs, which need strace")
    parser.add_argument("--dir", help="folder for both spools; default: the system's temporary folder")
    parser.add_argument("--stock", action="store_true", help="leave Postfix's limits as Debian ships them")
    parser.add_argument("--scripts", default="eod,queue", help="the scripts that Angarium runs, of eod and queue")
    parser.add_argument("--angarium", help="the program; default: a release build of this tree")
    parser.add_argument("--only", choices=["angarium", "postfix"], help="one of the two, for profiling")
    options = parser.parse_args()
    if options.only != "angarium":
        if not shutil.which("postfix"):
            sys.exit("Postfix is not installed: apt-get install --no-install-recommends postfix")
        if os.geteuid():
            sys.exit("Postfix needs root")
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    build("angarium-tests", "--example", "load")
    load = os.path.join(target, "release", "examples", "load")
    program = options.angarium or os.path.join(target, "release", "angarium")
    if not options.angarium and options.only != "postfix":
        build("angarium")

    folder = tempfile.mkdtemp(prefix="angarium-bench-", dir=options.dir)
    os.chmod(folder, 0o755)
    sink = free_port()

    def start(part, before=lambda _: ()):
        """The servers, each in a folder of its own; `before` gives what goes before a server's command."""
        if options.only != "postfix":
            yield Angarium(os.path.join(folder, part, "angarium"), sink, program, options.scripts.split(","), before("angarium"))
        if options.only != "angarium":
            yield Postfix(os.path.join(folder, part, "postfix"), sink, options.stock, before("postfix"))

    def amount(sessions, size):
        messages = options.messages if size <= 4096 else options.messages // 5
        return max(messages // 10 if sessions == 1 else messages, 1)

    servers = []
    try:
        servers.extend(start("timed"))
        if options.only != "angarium":
            print(f"Postfix {Postfix.version()}, {'as Debian ships it' if options.stock else 'limits raised'}")
        print(f"{os.cpu_count()} cores, spools in {folder}")
        rows = [(size, sessions) for size in map(int, options.sizes.split(",")) for sessions in map(int, options.sessions.split(","))]
        for size, sessions in rows:
            messages = amount(sessions, size)
            results = {server.name: [] for server in servers}
            for number in range(options.rounds + 1):
                # In turns, and each begins as often as the other.
                for server in servers if number % 2 else reversed(servers):
                    result = measure(load, server, sink, sessions, messages, size)
                    print(f"  {size} bytes  {sessions:4} sessions  {server.name:8}  accepted {result['accepted']:7.0f}/s  relayed {result['relayed']:7.0f}/s"
                          f"  CPU {result['cpu']:6.3f} ms a message  250 after {result['p50']:.2f} ms, p99 {result['p99']:.2f} ms"
                          f"{'  (not counted)' if number == 0 else ''}", flush=True)
                    if number:
                        results[server.name].append(result)
            keys = ("accepted", "relayed", "cpu", "p50", "p99")
            medians = {name: {key: statistics.median(row[key] for row in rows) for key in keys} for name, rows in results.items()}
            print(f"\n{messages} messages of {size} bytes over {sessions} sessions, medians of {options.rounds} rounds")
            print("| server | accepted/s | relayed/s | CPU ms a message | 250, p50 ms | 250, p99 ms |\n|---|---|---|---|---|---|")
            for name, row in medians.items():
                print(f"| {name} | {row['accepted']:.0f} | {row['relayed']:.0f} | {row['cpu']:.3f} | {row['p50']:.2f} | {row['p99']:.2f} |")
            if len(medians) == 2:
                own, other = medians["Angarium"], medians["Postfix"]
                print("| ratio | " + " | ".join(f"{own[key] / other[key]:.2f}" for key in keys) + " |")
            print(flush=True)
        while servers:
            servers.pop().stop()
        if options.no_counts:
            return
        print("| size | sessions | server | most memory, MiB | syncs a message |\n|---|---|---|---|---|")
        for size, sessions in rows:
            part, messages = f"{size}-{sessions}", amount(sessions, size)
            calls = lambda name: os.path.join(folder, f"{part}-{name}.calls")
            servers.extend(start(part, lambda name: counted(calls(name))))
            most = {}
            for server in servers:
                with Watch(server.pid) as watch:
                    measure(load, server, sink, sessions, messages, size)
                most[server.name] = watch.most
            while servers:
                server = servers.pop()
                server.stop()
                syncs = count(calls(server.name.lower()))
                print(f"| {size} | {sessions} | {server.name} | {most[server.name] / 2**20:.0f} | {syncs / messages:.3f} |", flush=True)
            shutil.rmtree(os.path.join(folder, part), ignore_errors=True)
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


main()
