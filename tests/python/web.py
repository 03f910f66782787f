"""A web server for the tests of http(), on Python's own http.server.

usage: web.py FOLDER

FOLDER gets cert.pem, key.pem and the socket `unix`; the ports of HTTP, HTTPS and the proxy are printed. The process ends
with its standard input.
"""

import http.server
import os
import select
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import urllib.request


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def address_string(self):
        return "somebody"

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            data = b""
            while True:
                size = int(self.rfile.readline().strip(), 16)
                data += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self):
        body = self.body()
        path = self.path.split("?")[0]
        if path == "/echo":
            self.answer(200, body)
        elif path == "/request":
            fields = "".join(f"{name}={value}\n" for name, value in self.headers.items())
            self.answer(200, f"{self.command} {self.path}\n{fields}".encode())
        elif path == "/gone":
            self.answer(410, b"gone")
        elif path == "/moved":
            self.answer(302, b"", [("Location", "/request?moved")])
        elif path == "/kept":
            self.answer(308, b"", [("Location", "/echo")])
        elif path == "/slow":
            time.sleep(5)
            self.answer(200, b"late")
        elif path == "/remember":
            kept.append(body)
            self.answer(503 if len(kept) == 1 else 200, b"")
        elif path == "/kept-bodies":
            self.answer(200, b",".join(kept))
        elif path == "/peer":
            # Only a connection in TLS has a certificate.
            cert = self.connection.getpeercert() if hasattr(self.connection, "getpeercert") else None
            self.answer(200, str(bool(cert)).encode())
        else:
            self.answer(404, b"no such page")

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = handle_any


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_CONNECT(self):
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection(("127.0.0.1", int(port))) as server:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: server, server: self.connection}
            while True:
                for end in select.select(list(ends), [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        self.close_connection = True
                        return
                    ends[end].sendall(data)

    def do_GET(self):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.path) as answer:
            body = b"through the proxy: " + answer.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self):
        connection, _ = super().get_request()
        return connection, ("local", 0)


kept = []
folder = sys.argv[1]
key, cert = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.pem")
subprocess.run(
    ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
     "-subj", "/CN=web.test", "-addext", "subjectAltName=DNS:localhost,DNS:web.test",
     "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert],
    check=True, capture_output=True)


def start(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()


plain = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
secure = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
secure.socket = context.wrap_socket(secure.socket, server_side=True)
proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
unix = UnixServer(os.path.join(folder, "unix"), Handler)
for server in (plain, secure, proxy, unix):
    start(server)
print(plain.server_address[1], secure.server_address[1], proxy.server_address[1], flush=True)
sys.stdin.read()
