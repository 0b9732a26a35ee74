"""The real server, a network that fails when it is told to, a device, and tests that may be coroutines and must leave nothing behind."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import hmac
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
SECRET = "a secret of the tests, of more than 32 bytes"
LIMIT_S = 60.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs coroutines, each in a loop of its own, and fails where a task, an error or a socket is left."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    asyncio.run(leaving_nothing(lambda: pyfuncitem.obj(**arguments)))
    return True


async def leaving_nothing(use: Callable[[], Any]) -> None:
    loop = asyncio.get_running_loop()
    problems: list[str] = []
    loop.set_exception_handler(lambda _, context: problems.append(str(context)))
    before = open_sockets()
    others = asyncio.all_tasks()
    await asyncio.wait_for(use(), LIMIT_S)
    await asyncio.sleep(0)
    gc.collect()
    await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() - others if not task.done()]
    deadline = time.monotonic() + 2
    while open_sockets() > before and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert left == []
    assert problems == []
    assert open_sockets() <= before, "a socket was left open"


def open_sockets() -> int:
    links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return sum(os.path.lexists(link) and os.readlink(link).startswith("socket:") for link in links)


def sign(device_ids: list[str] | None = None, lifetime_s: float = 3_600, user: str = "ada", **claims: Any) -> str:
    """A token as the operator's own service would issue it."""
    now = int(time.time())
    payload = {"userId": user, "deviceIds": device_ids or ["*"], "iat": now, "exp": int(now + lifetime_s), **claims}
    parts = [_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, payload)]
    signature = hmac.new(SECRET.encode(), ".".join(parts).encode(), hashlib.sha256).digest()
    return ".".join([*parts, _base64(signature)])


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One instance with the embedded broker, always on the same two ports."""

    def __init__(self) -> None:
        self.port = free_port()
        self.mqtt_port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        env = {
            "PATH": os.environ["PATH"],
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "MQTT_EMBEDDED_PORT": str(self.mqtt_port),
            "DEMO_DEVICES": "0",
            "JWT_SECRET": SECRET,
            "LOG_LEVEL": "error",
        }
        command = [os.environ.get("NODE", "node"), str(ROOT / "dist" / "main.js")]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not self._is_ready():
            assert self.process.poll() is None and time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)

    def end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Proxy:
    """A network between client and server: cut, or stalled without a word."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._links: list[asyncio.Transport] = []
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.accepted = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def cut(self) -> None:
        for link in self._links:
            link.abort()
        self._links.clear()

    def stall(self) -> None:
        self._flows.clear()

    def heal(self) -> None:
        self._flows.set()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        self.heal()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._links += [writer.transport, far_writer.transport]
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.transport.abort()


class Device:
    """Publishes, and answers commands that have an id, in a thread of its own."""

    def __init__(self, port: int) -> None:
        self.client = mqtt.Client()
        self.commands: list[Any] = []
        self.client.on_connect = lambda *_: self.client.subscribe("devices/+/commands", qos=1)
        self.client.on_subscribe = lambda *_: self._is_ready.set()
        self.client.on_message = self._answer
        self.client.reconnect_delay_set(1, 1)
        self._is_ready = threading.Event()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._is_ready.wait(20)

    async def publish(self, device_id: str, *payloads: Any) -> None:
        for payload in payloads:
            await self.publish_text(device_id, json.dumps(payload))

    async def publish_text(self, device_id: str, text: str, what: str = "telemetry") -> None:
        info = self.client.publish(f"devices/{device_id}/{what}", text, qos=1)
        while not info.is_published():
            await asyncio.sleep(0.001)

    async def connected(self) -> None:
        while not self.client.is_connected():
            await asyncio.sleep(0.01)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _answer(self, client: mqtt.Client, _: Any, message: mqtt.MQTTMessage) -> None:
        command = json.loads(message.payload)
        self.commands.append(command)
        if isinstance(command, dict) and "id" in command:
            reply = {"id": command["id"], "did": command}
            client.publish(message.topic.replace("/commands", "/replies"), json.dumps(reply), qos=1)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    server.start()
    yield server
    server.end(signal.SIGKILL)

