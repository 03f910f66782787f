"""Name servers of one answer each: four failures, silence, and an address that is said to be secured by DNSSEC.

Prints their ports; ends with its standard input.
"""

import socket
import struct
import sys
import threading


def serve(answer):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def run():
        while True:
            question, peer = server.recvfrom(4096)
            if answer is not None:
                server.sendto(answer(question), peer)

    threading.Thread(target=run, daemon=True).start()
    return server.getsockname()[1]


def code(rcode, flags_set=0, records=b"", count=0):
    def answer(question):
        ident, flags, questions, _, _, _ = struct.unpack("!6H", question[:12])
        # The question ends after its name, type and class.
        end = 12
        while question[end]:
            end += 1 + question[end]
        end += 5
        flags = 0x8080 | (flags & 0x0100) | flags_set | rcode
        return struct.pack("!6H", ident, flags, questions, count, 0, 0) + question[12:end] + records

    return answer


# An A record of the name in the question, 192.0.2.7, and the AD flag.
address = struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + bytes([192, 0, 2, 7])
secure = code(0, 0x0020, address, 1)
print(serve(code(2)), serve(code(1)), serve(code(4)), serve(code(5)), serve(None), serve(secure), flush=True)
sys.stdin.read()
