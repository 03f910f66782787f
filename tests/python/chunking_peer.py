"""A mail server that takes messages by BDAT alone (RFC 3030), written from the RFC and with nothing of ours.

usage: chunking_peer.py EXTENSION ...

Announces the extensions; prints its port, then a line of JSON for each message: the MAIL command, the commands that brought
the content, and the content in base64. Every octet has to be where the sizes say: a command that is none, or DATA, ends the
process with its reason. It ends with its standard input, or after a minute.
"""

import base64
import json
import os
import socket
import sys
import threading


def fail(why):
    print(json.dumps({"error": why}), flush=True)
    os._exit(1)


def serve(connection, extensions):
    stream = connection.makefile("rb")

    def say(text):
        connection.sendall(text.encode() + b"\r\n")

    say("220 peer.example ESMTP")
    mail, recipients, ways, content = None, 0, [], b""
    while True:
        line = stream.readline()
        if not line:
            return
        if not line.endswith(b"\r\n"):
            fail(f"a command without CRLF: {line!r}")
        line = line[:-2].decode("ascii")
        verb = line.split(" ")[0]
        if verb == "EHLO":
            say("250-peer.example")
            for extension in extensions:
                say("250-" + extension)
            say("250 HELP")
        elif verb == "MAIL":
            mail, recipients, ways, content = line, 0, [], b""
            say("250 2.1.0 ok")
        elif verb == "RCPT":
            recipients += 1
            say("250 2.1.5 ok")
        elif verb == "BDAT":
            words = line.split(" ")
            if mail is None or recipients == 0:
                fail(f"{line} without an envelope")
            if words[2:] not in ([], ["LAST"]):
                fail(f"no command: {line}")
            chunk = stream.read(int(words[1]))
            if len(chunk) != int(words[1]):
                fail(f"{line} brought {len(chunk)} octets")
            ways.append(line)
            content += chunk
            if words[2:] == ["LAST"]:
                text = base64.b64encode(content).decode()
                print(json.dumps({"mail": mail, "ways": ways, "content": text}), flush=True)
                mail = None
            say("250 2.0.0 ok")
        elif verb == "RSET":
            mail = None
            say("250 2.0.0 ok")
        elif verb == "QUIT":
            say("221 2.0.0 bye")
            return
        else:
            fail(f"unexpected: {line}")


def session(connection, extensions):
    try:
        serve(connection, extensions)
    except ConnectionError:
        pass
    connection.close()


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=session, args=(connection, sys.argv[1:]), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    threading.Timer(60, fail, ["nothing more came"]).start()
    sys.stdin.read()
    os._exit(0)


main()
