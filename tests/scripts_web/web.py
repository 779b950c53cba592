"""A web of several hosts for the tests: https with a certificate by name, http, and a proxy; each request is logged.

usage: web.py DIRECTORY

DIRECTORY holds NAME.pem (key and chain) for every host with https, and `objects/HOST/PATH`, the files that are served.
A path with a marker behaves in its way: see `Handler.do_GET`. Every request is one JSON line in DIRECTORY/requests.
"""

import http.server
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time

DIRECTORY = sys.argv[1]
SCRIPT = b"#!/bin/sh\necho fetched from the web\n"
TOKEN = "Bearer canary-of-the-token"
lock = threading.Lock()
counts = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def record(self, kind):
        entry = {
            "kind": kind,
            "host": self.headers.get("Host", ""),
            "path": self.path,
            "authorization": self.headers.get("Authorization", ""),
            "tls": isinstance(self.connection, ssl.SSLSocket),
        }
        with lock:
            with open(os.path.join(DIRECTORY, "requests"), "a") as file:
                file.write(json.dumps(entry) + "\n")
            counts[self.path] = counts.get(self.path, 0) + 1
            return counts[self.path]

    def answer(self, status, body=SCRIPT, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def head(self, length=None):
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def do_GET(self):
        count = self.record("GET")
        path, token = self.path, self.headers.get("Authorization", "")
        if "come-back-later" in path and count == 1:
            return self.answer(503 if "503" in path else 429, b"not now", [("Retry-After", "4")])
        if "503-twice" in path and count <= 2:
            return self.answer(503, b"not now")
        if "reset-twice" in path and count <= 2:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if "always-503" in path:
            return self.answer(503, b"never")
        if "missing" in path:
            return self.answer(404, b"no such object")
        if "forbidden" in path:
            return self.answer(403, b"no")
        if "private" in path and token != TOKEN:
            return self.answer(401, b"who are you")
        if "public-only" in path and token:
            return self.answer(403, b"not with this token")
        if "moved-to-" in path:
            to = path.split("moved-to-")[1]
            scheme, host, rest = to.split("/", 2)
            return self.answer(302, b"", [("Location", f"{scheme}://{host}/{rest}")])
        if "loop" in path:
            return self.answer(302, b"", [("Location", path)])
        if "big" in path:
            head = b"#!/bin/sh\ngrep VmHWM /proc/$PPID/status\nexit 0\n"
            self.head(100 * 1024 * 1024)
            self.wfile.write(head)
            left = 100 * 1024 * 1024 - len(head)
            piece = (b"#" * 127 + b"\n") * 512
            while left > 0:
                self.wfile.write(piece[:left])
                left -= len(piece[:left])
            return
        if "endless" in path:
            self.head()
            while True:
                self.wfile.write(b"#" * 65536)
        if "seven-seconds" in path:
            body = SCRIPT + b"#\n" * 70
            self.head(len(body))
            for part in range(7):
                self.wfile.write(body[part * len(body) // 7:(part + 1) * len(body) // 7])
                time.sleep(1)
            return
        if "drip" in path:
            self.head(1024 * 1024)
            while True:
                self.wfile.write(b"#")
                time.sleep(0.05)
        if "stall" in path:
            self.head(1024)
            self.wfile.write(SCRIPT)
            time.sleep(3600)
        if "silent" in path:
            time.sleep(3600)
        if "short" in path:
            self.head(1024)
            self.wfile.write(SCRIPT)
            return
        if "packed" in path:
            return self.answer(200, b"\x1f\x8b", [("Content-Encoding", "gzip")])
        file = os.path.join(DIRECTORY, "objects", self.headers["Host"], self.path.lstrip("/"))
        if os.path.isfile(file):
            with open(file, "rb") as source:
                return self.answer(200, source.read())
        return self.answer(200)

    def do_CONNECT(self):
        self.record("CONNECT")
        there = socket.create_connection(("127.0.0.1", int(self.path.rsplit(":", 1)[1])))
        self.send_response(200)
        self.end_headers()

        def copy(source, target):
            try:
                while data := source.recv(65536):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        back = threading.Thread(target=copy, args=(there, self.connection), daemon=True)
        back.start()
        copy(self.connection, there)
        back.join()
        self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    context = None

    def handle_error(self, *_):
        pass

    def finish_request(self, request, address):
        # The handshake happens here, in the thread of this connection.
        if self.context:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, address)


def context_of(name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(DIRECTORY, name + ".pem"))
    return context


contexts = {name[:-4]: context_of(name[:-4]) for name in os.listdir(DIRECTORY) if name.endswith(".pem")}
secure = Server(("127.0.0.1", 443), Handler)
secure.context = context_of("storage.googleapis.com")


def choose(sock, name, _):
    if name in contexts:
        sock.context = contexts[name]


secure.context.sni_callback = choose
plain = Server(("127.0.0.1", 80), Handler)
proxy = Server(("127.0.0.1", 3128), Handler)
for server in (plain, proxy):
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
secure.serve_forever()
