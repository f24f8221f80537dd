"""The simulator's HTTP front: AWS JSON 1.1, REST (Scheduler), the query protocol (STS, Auto Scaling, EC2), metadata.

The stdlib's own HTTP handler is not used: it costs 44 ms a call with Nagle's algorithm on, and most of a millisecond
after that in parsing headers with the e-mail parser. A request of an SDK needs twenty lines.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
import traceback
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl

from tests.simulator import query
from tests.simulator.errors import AwsError, Dropped, Json, Sender
from tests.simulator.model import VIRTUAL_EPOCH_S, World
from tests.simulator.other_apis import as_xml, error_as_xml, metadata
from tests.simulator.schedules import routed

TARGETS = {
    "AmazonEC2ContainerServiceV20141113": "ecs",
    "Logs_20140328": "logs",
    "AmazonEC2ContainerRegistry_V20150921": "ecr",
    "AmazonSSM": "ssm",
    "AWSEvents": "events",
}  # the others are called as they are
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 500: "Internal Server Error"}


class Simulator:
    """A `World` behind an HTTP address, for use in a `with`; what it does not have itself is the world's.

    `real_time`: the world follows the wall clock (`rate` times as fast), else it stands still until it is advanced.
    `latency_s`: how long each call really takes, for benchmarks; calls wait side by side.
    """

    def __init__(self, *, port: int = 0, real_time: bool = False, rate: float = 1.0, latency_s: float = 0.0) -> None:
        self.lock = threading.RLock()
        self.real_time, self.rate, self.latency_s = real_time, rate, latency_s
        self.is_open = True
        self._port = port
        self.reset()

    def reset(self) -> World:
        """Begin a new world behind the same address."""
        self.senders: list[Sender] = []
        started_s = time.time()
        self._started_s = time.monotonic()
        self.world = World(wall_epoch_s=started_s, epoch_s=started_s if self.real_time else VIRTUAL_EPOCH_S)
        return self.world

    def __getattr__(self, name: str) -> Any:
        if name == "world":
            raise AttributeError(name)
        return getattr(self.world, name)

    def __setattr__(self, name: str, value: object) -> None:
        """`sim.page_size = 10` means the world's."""
        world = self.__dict__.get("world")
        if world is not None and name in vars(world):
            setattr(world, name, value)
        else:
            super().__setattr__(name, value)

    def __enter__(self) -> Simulator:
        self._server = _Server(("127.0.0.1", self._port), _Connection)
        self._server.simulator = self
        self._port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self._thread = threading.Thread(target=self._serve, name="simulator", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_open = False
        socket.create_connection(("127.0.0.1", self._port)).close()
        self._thread.join()
        self._server.server_close()

    def _serve(self) -> None:
        while self.is_open:
            self._server.handle_request()

    def environment(self, *, metadata: bool = False, keys: bool = True) -> dict[str, str]:
        """The environment that sends SDKs here; with the metadata service only where it is asked for."""
        found = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": self.world.region,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url,
            "AWS_EC2_METADATA_DISABLED": "false" if metadata else "true",
        }
        if keys:
            found |= {"AWS_ACCESS_KEY_ID": "AKIASIMULATED", "AWS_SECRET_ACCESS_KEY": "simulated-secret"}
        return found

    def advance(self, seconds: float) -> None:
        """Move the world's time on."""
        with self.lock:
            self.world.advance(seconds)

    def handle(self, service: str, operation: str, params: Json, access_key: str = "") -> Json:
        """One call, with the world to itself."""
        if self.latency_s:
            time.sleep(self.latency_s)
        with self.lock:
            if self.real_time:
                self.world.advance_to((time.monotonic() - self._started_s) * self.rate)
            return self.world.handle(service, operation, params, access_key)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    simulator: Simulator


class _Connection(socketserver.StreamRequestHandler):
    """One connection of a client, kept alive until it leaves."""

    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def handle(self) -> None:
        try:
            while self._answer_one():
                pass
        except (Dropped, OSError):
            pass

    def _answer_one(self) -> bool:
        """Read a request and answer it; False where the client has left."""
        line = self.rfile.readline(65537)
        if not line.strip() or not self.server.simulator.is_open:
            return False
        method, path, _ = line.decode("latin-1").split()
        headers: dict[str, str] = {}
        while (line := self.rfile.readline(65537)) not in (b"\r\n", b"\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length", 0)))
        if method == "GET" and body:
            self.server.simulator.world.violations.append(f"a body in GET {path}, which not every proxy lets through")
        if method == "POST":
            self._answer_call(headers, body)
        elif _sender(headers).service == "scheduler":
            self._answer_call(headers, body, (method, path))
        else:
            self._answer_metadata(method, path)
        return headers.get("connection", "").lower() != "close"

    def _answer_call(self, headers: dict[str, str], body: bytes, rest: tuple[str, str] | None = None) -> None:
        simulator = self.server.simulator
        request_id = f"{len(simulator.world.calls):08x}-0000-4000-8000-000000000000"
        prefix, _, operation = headers.get("x-amz-target", "").partition(".")
        sender = _sender(headers)
        simulator.senders.append(sender)
        simulator.world.registries.called_in = sender.region
        try:
            if rest:
                operation, params = routed(*rest, json.loads(body or b"{}"))
                answer = simulator.handle("scheduler", operation, params, sender.access_key)
                self._send(200, json.dumps(answer), "application/json", request_id)
            elif operation:
                params = json.loads(body or b"{}")
                answer = simulator.handle(TARGETS.get(prefix, prefix), operation, params, sender.access_key)
                self._send(200, json.dumps(answer), "application/x-amz-json-1.1", request_id)
            else:
                form = dict(parse_qsl(body.decode(), keep_blank_values=True))
                service, action = sender.service, form.get("Action", "")
                typed = service in query.SERVICES
                params = query.params_of(service, action, form) if typed else form
                answer = simulator.handle(service, action, params, sender.access_key)
                xml = query.as_xml(service, action, answer, request_id) if typed else as_xml(action, answer, request_id)
                self._send(200, xml, "text/xml", request_id)
        except AwsError as error:
            self._send_error(error, request_id, as_json=bool(operation or rest))
        except (Dropped, OSError):
            raise
        except Exception as bug:  # of the simulator, or of a test's `on_call`
            simulator.world.violations.append(traceback.format_exc())
            broken = AwsError("ServerException", f"The simulator is broken: {bug!r}", 500)
            self._send_error(broken, request_id, as_json=bool(operation or rest))

    def _send_error(self, error: AwsError, request_id: str, *, as_json: bool) -> None:
        if as_json:
            text = json.dumps({"__type": error.code, "message": error.message}, ensure_ascii=False)
            self._send(error.http_status, text, "application/x-amz-json-1.1", request_id)
        else:
            self._send(error.http_status, error_as_xml(error, request_id), "text/xml", request_id)

    def _answer_metadata(self, method: str, path: str) -> None:
        if (method, path) == ("PUT", "/latest/api/token"):
            self._send(200, "simulated-token", "text/plain", "", "X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n")
            return
        with self.server.simulator.lock:
            found = metadata(self.server.simulator.world, path)
        if found is None:
            self._send(404, "Not Found", "text/plain", "")
        else:
            self._send(200, found if isinstance(found, str) else json.dumps(found), "application/json", "")

    def _send(self, status: int, text: str, kind: str, request_id: str, more: str = "") -> None:
        body = text.encode(errors="surrogateescape")
        head = (
            f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}\r\nContent-Type: {kind}\r\n"
            f"x-amzn-RequestId: {request_id}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        )
        self.wfile.write(head.encode() + body)
        self.wfile.flush()


def _sender(headers: dict[str, str]) -> Sender:
    """From an AWS4-HMAC-SHA256 Credential=KEY/date/REGION/SERVICE/aws4_request; what is unsigned is for STS."""
    scope = headers.get("authorization", "").partition("Credential=")[2].partition(",")[0].split("/")
    access_key, _, region, service = scope[:4] if len(scope) > 3 else ("", "", "", "sts")
    service = {"elasticloadbalancing": "elbv2"}.get(service, service)  # it signs with its long name
    token, user_agent = headers.get("x-amz-security-token", ""), headers.get("user-agent", "")
    return Sender(access_key, token, region, service, user_agent)
