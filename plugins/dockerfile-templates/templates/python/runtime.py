"""The loop of a Python function: takes calls from the host, hands each to the handler.

The host listens on a Unix socket and speaks the paths of AWS Lambda's Runtime API (2018-06-01)
over HTTP/1.1; one connection is kept for all calls. Standard library only.
"""

import importlib
import json
import os
import socket
import sys
import time
import traceback

BASE = "/2018-06-01/runtime/"


class Host:
    """The connection to the host."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.reader = self.socket.makefile("rb")

    def request(self, method, path, body=b""):
        head = f"{method} {BASE}{path} HTTP/1.1\r\nHost: dunnage\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.socket.sendall(head.encode() + body)
        if not self.reader.readline():
            raise EOFError("the host closed the connection")
        headers = {}
        while (line := self.reader.readline().rstrip(b"\r\n")) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return headers, self.reader.read(int(headers["content-length"]))

    def report(self, path, error):
        """Tells the host that the function failed, and why."""
        trace = traceback.format_exception(type(error), error, error.__traceback__)
        failure = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": trace}
        self.request("POST", path, json.dumps(failure).encode())


class Context:
    """What a handler is told about its call, by the names that Lambda uses."""

    def __init__(self, headers):
        self.aws_request_id = headers["lambda-runtime-aws-request-id"]
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn", "")
        self.function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        self.memory_limit_in_mb = os.environ.get("FUNCTION_MAX_MEMORY_MB", "")
        self._deadline_ms = int(headers.get("lambda-runtime-deadline-ms", 0))

    def get_remaining_time_in_millis(self):
        return max(0, self._deadline_ms - int(time.time() * 1000))


def load(name):
    """`package.module.function` to the function itself."""
    module, _, function = name.rpartition(".")
    if not module:
        raise ImportError(f"{name!r} does not name a handler: it is written module.function")
    return getattr(importlib.import_module(module.replace("/", ".")), function)


def serve(host, handler):
    while True:
        headers, event = host.request("GET", "invocation/next")
        context = Context(headers)
        call = f"invocation/{context.aws_request_id}/"
        try:
            answer = json.dumps(handler(json.loads(event), context)).encode()
        except Exception as error:
            host.report(call + "error", error)
        else:
            # Lines of this call go out before its answer, so that they are found with it.
            sys.stdout.flush()
            host.request("POST", call + "response", answer)


def main():
    sys.stdout.reconfigure(line_buffering=True)
    sys.path.insert(0, os.getcwd())
    host = Host(os.environ["DUNNAGE_RUNTIME_SOCKET"])
    try:
        handler = load(os.environ["DUNNAGE_HANDLER"])
    except Exception as error:
        host.report("init/error", error)
        raise
    serve(host, handler)


main()
