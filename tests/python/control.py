"""A client of the control socket that is not ours: frames by hand, messages by Google's protobuf.

usage: control.py SOCKET PROTO_FOLDER

The server holds three messages to *@held.example by a suspend of its configuration. What this client finds is
asserted here; the first failed assertion ends it.
"""

import importlib
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid


def compile_messages(folder):
    """Compiles the .proto files of the repository with protoc and imports what comes out."""
    out = tempfile.mkdtemp(prefix="control-")
    names = sorted(name for name in os.listdir(folder) if name.endswith(".proto"))
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--python_out={out}", *names], check=True
    )
    sys.path.insert(0, out)
    modules = [importlib.import_module(name.replace(".proto", "_pb2")) for name in names]

    class Messages:
        pass

    for module in modules:
        for name in module.DESCRIPTOR.message_types_by_name:
            setattr(Messages, name, getattr(module, name))
        for name, kind in module.DESCRIPTOR.enum_types_by_name.items():
            for value in kind.values:
                setattr(Messages, value.name, value.number)
    return Messages


class Refused(Exception):
    pass


class Client:
    def __init__(self, path, version=b"\x05\x03"):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.socket.sendall(version)

    def read(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(min(count - len(data), 1 << 20))
            if not part:
                raise EOFError(f"closed after {len(data)} of {count} bytes")
            data += part
        return data

    def answer(self):
        kind, length = struct.unpack("<cQ", self.read(9))
        data = self.read(length)
        if kind == b"E":
            data.decode("ascii")
            raise Refused(data.decode())
        assert kind == b"+", kind
        return data

    def call(self, letter, request=None, response=None):
        frame = letter.encode()
        if request is not None:
            body = request if isinstance(request, bytes) else request.SerializeToString()
            frame += struct.pack("<Q", len(body)) + body
        self.socket.sendall(frame)
        data = self.answer()
        return response.FromString(data) if response else data

    def is_closed(self):
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


def refused(call, *words):
    try:
        call()
    except Refused as error:
        assert all(word in str(error) for word in words), str(error)
        return str(error)
    raise AssertionError("the server did not refuse")


def wait(ready, what):
    for _ in range(600):
        value = ready()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen")


def main(path, folder):
    m = compile_messages(folder)
    client = Client(path)

    # The queue: three messages, held by a suspend of the configuration.
    everything = m.QueueListRequest()
    listed = wait(
        lambda: (lambda got: got if got.paging.total == 3 else None)(
            client.call("F", m.QueueListRequest(conditions=m.Condition(queues=[{"queue": m.ACTIVE}])), m.QueueListResponse)
        ),
        "three messages in ACTIVE",
    )
    assert len(listed.items) == 3, listed
    recipients = {item.recipient.localpart for item in listed.items}
    assert recipients == {"b0", "b1", "b2"}, recipients
    for item in listed.items:
        assert item.WhichOneof("state") == "queue" and item.queue.queue == m.ACTIVE
        assert item.transportid == "sink" and item.sender.domain == "example.net"
        assert item.subject == "hello" and item.remoteip == "127.0.0.1" and item.size > 50
        assert abs(item.ts - time.time()) < 120
        uuid.UUID(item.id.transaction)
        assert item.id.queue > 0
    empty = m.QueueListRequest(conditions=m.Condition(queues=[{"queue": m.DEFER}]))
    assert client.call("F", empty, m.QueueListResponse).paging.total == 0
    paged = m.QueueListRequest(paging=m.PagingRequest(offset=1, limit=1))
    got = client.call("F", paged, m.QueueListResponse)
    assert (got.paging.total, len(got.items)) == (3, 1)
    ordered = m.QueueListRequest(sortings=[{"recipient": {"localpart": m.DESC}}])
    got = client.call("F", ordered, m.QueueListResponse)
    assert [item.recipient.localpart for item in got.items] == ["b2", "b1", "b0"]
    one = listed.items[0].id
    by_id = m.Condition(ids=[{"transaction": one.transaction, "queue": one.queue}])
    got = client.call("F", m.QueueListRequest(conditions=by_id), m.QueueListResponse)
    assert [item.id for item in got.items] == [one]
    regex = m.Condition(recipients=[{"domain": {"value": "^HELD", "type": m.StringRegexValue.REGEX}}])
    assert client.call("F", m.QueueListRequest(conditions=regex), m.QueueListResponse).paging.total == 3
    excluded = m.Condition(recipients=[{"localpart": {"value": "b1"}, "exclude": True}])
    assert client.call("F", m.QueueListRequest(conditions=excluded), m.QueueListResponse).paging.total == 2

    # Group by domain, with a column for each age.
    grouped = client.call(
        "D",
        m.QueueGroupByRequest(
            groupbys=[{"recipientdomain": True}],
            counts=[{"ts": {"gt": {"relative": -300}}}, {"ts": {"lte": {"relative": -300}}}],
        ),
        m.QueueGroupByResponse,
    )
    (row,) = grouped.items
    assert (list(row.groupbys), list(row.counts), row.total) == (["held.example"], [3, 0], 3), row

    # Why they wait, and where that was set.
    why = client.call("1", m.QueueWhyRequest(id=one), m.QueueWhyResponse)
    assert why.reason == m.QueueWhyResponse.SUSPEND and "smtpd-suspend.yaml:" in why.origin, why
    audit = client.call("2", None, m.QueueAuditResponse)
    assert (audit.checked, len(audit.findings)) == (3, 0), audit

    # Update: metadata, priority, job; then hold and release.
    changes = m.QueueUpdateRequest(conditions=by_id, priority={"value": 1}, jobid={"value": "job-1"})
    changes.metadata["colour"] = "blau"
    got = client.call("G", changes, m.QueueUpdateResponse)
    assert (got.affected, got.working) == (1, 0), got

    def item():
        got = client.call("F", m.QueueListRequest(conditions=by_id), m.QueueListResponse)
        return got.items[0]

    wait(lambda: item().WhichOneof("state") == "queue", "the change was written")
    changed = item()
    assert (changed.priority, changed.jobid, dict(changed.metadata)) == (1, "job-1", {"colour": "blau"}), changed
    hold = m.QueueUpdateRequest(conditions=by_id, move={"freeze": m.HOLD})
    assert client.call("G", hold, m.QueueUpdateResponse).affected == 1
    wait(lambda: item().WhichOneof("state") == "freeze" and item().hold, "the hold")
    why = client.call("1", m.QueueWhyRequest(id=one), m.QueueWhyResponse)
    assert why.reason == m.QueueWhyResponse.HOLD and "control socket" in why.origin, why
    release = m.QueueUpdateRequest(conditions=by_id, move={"queue": m.ACTIVE})
    assert client.call("G", release, m.QueueUpdateResponse).affected == 1
    wait(lambda: item().WhichOneof("state") == "queue", "the release")

    # Suspends and conditions.
    suspends = client.call("s", m.SuspendRequest(), m.SuspendResponse)
    (static,) = [item for item in suspends.items if item.source == m.SuspendResponse.STATIC]
    assert static.recipientdomain.value == "held.example" and static.tag.value == "maintenance", static
    added = client.call("t", m.SuspendAddRequest(jobid={"value": "job-9"}, ttl=300, tag={"value": "t"}), m.SuspendAddResponse)
    (dynamic,) = client.call("s", m.SuspendRequest(id=added.id), m.SuspendResponse).items
    assert dynamic.source == m.SuspendResponse.DYNAMIC and 290 < dynamic.ttl <= 300, dynamic
    blocking = m.SuspendRequest(condition={"pickup": True, "jobid": {"value": "job-9"}, "transportid": {"value": "x"}})
    assert [item.id for item in client.call("s", blocking, m.SuspendResponse).items] == [added.id]
    assert client.call("O", m.SuspendUpdateRequest(id=added.id, ttl=0), m.SuspendUpdateResponse).affected == 1
    assert client.call("s", m.SuspendRequest(id=added.id), m.SuspendResponse).items[0].ttl == 0
    assert client.call("u", m.SuspendDeleteRequest(id=added.id), m.SuspendDeleteResponse).affected == 1
    assert client.call("u", m.SuspendDeleteRequest(id=added.id), m.SuspendDeleteResponse).affected == 0
    add = m.PolicyConditionAddRequest(
        fields={"recipientdomain": True}, **{"if": {"recipientdomain": {"value": "*.example"}}}, id="mine", ttl=60
    )
    add.then.rate.count, add.then.rate.interval, add.then.concurrency = 5, 2.5, 3
    add.then.properties["a"] = "b"
    assert client.call("w", add, m.PolicyConditionAddResponse).id == "mine"
    (condition,) = client.call("v", None, m.PolicyConditionResponse).items
    assert condition.id == "mine" and condition.fields == m.Fields(recipientdomain=True), condition
    assert condition.then.concurrency == 3 and condition.then.rate.interval == 2.5, condition
    assert getattr(condition, "if").recipientdomain.value == "*.example"
    matched = client.call("T", m.PolicyMatchRequest(recipientdomain="held.example"), m.PolicyMatchResponse)
    (policy,) = matched.policies
    assert policy.concurrency.value == 3 and policy.dynamic[0].id == "mine", policy
    assert dict(policy.properties) == {"a": "b"}
    update = m.PolicyConditionUpdateRequest(id="mine", then={"concurrency": 4})
    assert client.call("P", update, m.PolicyConditionUpdateResponse).affected == 1
    assert client.call("x", m.PolicyConditionDeleteRequest(id="mine"), m.PolicyConditionDeleteResponse).affected == 1
    assert len(client.call("v", None, m.PolicyConditionResponse).items) == 0

    # Shared memory: JSON in, JSON out, read and removed in one step.
    client.call("z", m.HSLMemoryStoreRequest(key="k", value='{"a":[1,2.5,null,true,"x"]}'), m.HSLMemoryStoreResponse)
    assert client.call("y", m.HSLMemoryRequest(key="k"), m.HSLMemoryResponse).value == '{"a":[1,2.5,null,true,"x"]}'
    keys = client.call("K", m.HSLMemoryListRequest(condition={"key": {"value": "k"}}), m.HSLMemoryListResponse).keys
    assert list(keys) == ["k"]
    old = m.HSLMemoryStoreRequest(key="k", value="7", **{"return": True})
    assert client.call("z", old, m.HSLMemoryStoreResponse).value == '{"a":[1,2.5,null,true,"x"]}'
    gone = client.call("A", m.HSLMemoryDeleteRequest(key="k", **{"return": True}), m.HSLMemoryDeleteResponse)
    assert (gone.affected, gone.value) == (1, "7"), gone
    assert client.call("A", m.HSLMemoryDeleteRequest(key="k"), m.HSLMemoryDeleteResponse).affected == 0
    refused(lambda: client.call("z", m.HSLMemoryStoreRequest(key="k", value="{")), "JSON")

    # The process.
    stats = client.call("q", None, m.ProcessStatsResponse)
    assert stats.process.pid > 1 and stats.queue.queue.active.size == 3, stats
    assert [size.size for size in stats.queue.queue.active.priorities] == [2, 1], stats
    assert stats.servers[0].serverid == "default"
    client.call("g", None, m.HSLCacheResponse)
    assert client.call("h", m.HSLCacheClearRequest(), m.HSLCacheClearResponse).affected == 0
    assert client.call("I", m.QueueQuotaRequest(quota="none"), m.QueueQuotaResponse).count == 0

    # Connections, and a trace, which the next byte ends.
    other = m.ServerConnectionsListRequest(condition={"serverid": "other"})
    assert client.call("N", other, m.ServerConnectionsListResponse).paging.total == 0
    smtp = m.ServerConnectionsCloseRequest(serverid="other", reply={"code": 554, "reason": "5.7.1 Go"})
    assert client.call("Q", smtp, m.ServerConnectionsCloseResponse).affected == 0
    smtp.reply.code = 250
    refused(lambda: client.call("Q", smtp), "250")
    assert client.call("R", m.QueueConnectionsListRequest(), m.QueueConnectionsListResponse).paging.total == 0
    none = m.QueueConnectionsCloseRequest(remotemx="mx.none.example")
    assert client.call("S", none, m.QueueConnectionsCloseResponse).affected == 0
    refused(lambda: client.call("R", m.QueueConnectionsListRequest(condition={"localip": "x"})), "localip")
    refused(lambda: client.call("W", m.TraceSMTPRequest(remoteip={"value": "x"})), "remoteip")
    trace = m.TraceSMTPRequest(hexdump=True).SerializeToString()
    for pause in (0, 0.2):
        client.socket.sendall(b"W" + struct.pack("<Q", len(trace)) + trace)
        time.sleep(pause)
        assert client.call("q") == b"", "the end of the trace"
        assert m.ProcessStatsResponse.FromString(client.answer()).process.pid > 1

    # What is no request is refused, and the connection goes on where it can.
    refused(lambda: client.call("!"), "Unknown command")
    refused(lambda: client.call("F", b"\xff\xff\xff"), "Bad request")
    refused(lambda: client.call("F", b"\x0a\x05ab"), "Bad request")
    bad_regex = m.Condition(subjects=[{"value": "(", "type": m.StringMatch.REGEX}])
    refused(lambda: client.call("F", m.QueueListRequest(conditions=bad_regex)), "regular expression")
    refused(lambda: client.call("G", m.QueueUpdateRequest(conditions=by_id)), "Nothing")
    refused(lambda: client.call("a", b""), "a stage needs a name")
    refused(lambda: client.call("M", b"x"), "plugin")
    assert client.call("F", everything, m.QueueListResponse).paging.total == 3
    large = Client(path)
    large.socket.sendall(b"F" + struct.pack("<Q", (1 << 30) + 1))
    refused(large.answer, "longer")
    assert large.is_closed()
    other = Client(path, b"\x04\x00")
    refused(other.answer, "version 4.0")
    assert other.is_closed()
    for version in (b"\x05\x0f", b"\x06\x00"):
        assert Client(path, version).call("q")
    # One that stops in the middle, and one that sends more than it reads, hold nobody up.
    stuck = Client(path)
    stuck.socket.sendall(b"F" + struct.pack("<Q", 100) + b"x")
    greedy = Client(path)
    greedy.socket.setblocking(False)
    try:
        while True:
            greedy.socket.send(b"q" * 65536)
    except BlockingIOError:
        pass
    begin = time.time()
    assert client.call("F", everything, m.QueueListResponse).paging.total == 3
    assert time.time() - begin < 5

    # More clients than there is room for: each is told, none is left waiting.
    crowd = []
    for _ in range(80):
        crowd.append(Client(path))
    told = 0
    for one_of_many in crowd:
        try:
            one_of_many.call("q")
        except (Refused, BrokenPipeError, ConnectionResetError) as error:
            told += 1
            assert not isinstance(error, Refused) or "busy" in str(error), error
    assert told >= 16, told
    for one_of_many in crowd:
        one_of_many.socket.close()
    stuck.socket.close()
    greedy.socket.close()
    print("passed")


main(sys.argv[1], sys.argv[2])
