"""The client against a server that lies, hangs and closes, and against being cancelled at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sluice_client import (
    ClientState,
    Closed,
    CommandTimeout,
    ConnectionLost,
    Gap,
    MessageTooBig,
    NoToken,
    NotConnected,
    Overloaded,
    PayloadTooLarge,
    ServerFault,
    SlowConsumer,
    SluiceClient,
    SluiceError,
    Telemetry,
    TokenExpired,
    TooManyConnections,
    TooManyMessages,
    Upstream,
    _connection,
    _reconnect,
    _requests,
)

try:
    serve: Any = importlib.import_module("websockets.asyncio.server").serve
except ImportError:
    serve = importlib.import_module("websockets.legacy.server").serve

CONNECTED = '{"type":"connected","userId":"u","connectionId":"c","protocol":"sluice.v1","heartbeatMs":30000,"serverTs":1}'
Script = Callable[[Any, int], Awaitable[None]]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reconnect, "BASE_MS", 5)
    monkeypatch.setattr(_reconnect, "RETRY_JITTER_MS", 5)
    monkeypatch.setattr(_requests, "PAUSE_S", 0.01)


@contextlib.asynccontextmanager
async def against(script: Script, **options: Any) -> AsyncIterator[SluiceClient]:
    """A client of a server that does what the script says; it is told how many came before."""
    count = -1

    async def handle(websocket: Any, *_: Any) -> None:
        nonlocal count
        count += 1
        with contextlib.suppress(Exception):
            await script(websocket, count)

    async with serve(handle, "127.0.0.1", 0, subprotocols=["sluice.v1"], compression=None, close_timeout=0.1) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with SluiceClient(f"ws://127.0.0.1:{port}", **{"token": lambda: "t", **options}) as sluice:
            yield sluice


async def obey(websocket: Any, count: int = 0, offsets: list[int] | None = None) -> None:
    """A well-behaved server of as much as these tests need."""
    await websocket.send(CONNECTED)
    while True:
        message = json.loads(await websocket.recv())
        number = message.get("id")
        if message["type"] == "subscribe":
            rooms = [room(device_id) for device_id in message.get("deviceIds", [])]
            answer = {"type": "subscribed", "id": number, "rooms": rooms, "denied": [], **pattern_of(message)}
            await websocket.send(json.dumps(answer))
            await websocket.send('{"type":"snapshot","devices":[]}')
            for offset in offsets or []:
                await websocket.send(publication(offset))
        elif message["type"] == "command":
            await websocket.send(json.dumps({"type": "command_sent", "id": number, "deviceId": message["deviceId"]}))
        elif message["type"] == "ping":
            await websocket.send('{"type":"pong","serverTs":1}')


def pattern_of(message: Any) -> Any:
    return {"pattern": message["pattern"]} if "pattern" in message else {}


def room(device_id: str) -> dict[str, Any]:
    return {"deviceId": device_id, "epoch": "e", "offset": 0}


def publication(offset: int, **more: Any) -> str:
    message = {"type": "telemetry", "deviceId": "a", "payload": offset, "serverTs": 1, "epoch": "e", "offset": offset}
    return json.dumps({**message, **more})


async def test_tells_of_a_gap_where_numbers_begin_anew_without_a_snapshot() -> None:
    # A store came back empty: of a device of which nothing is known there is no snapshot, and what was missed was not told.
    async def script(websocket: Any, count: int) -> None:
        await websocket.send(CONNECTED)
        number = json.loads(await websocket.recv())["id"]
        await websocket.send(json.dumps({"type": "subscribed", "id": number, "rooms": [room("a")], "denied": []}))
        await websocket.send('{"type":"snapshot","devices":[]}')
        for message in [publication(1), publication(1, epoch="f"), publication(2, epoch="f")]:
            await websocket.send(message)
        await websocket.wait_closed()

    async with against(script) as sluice:
        heard: list[Any] = []
        subscription = sluice.subscribe(["a"])
        subscription.on(Gap, lambda _: heard.append("gap"))
        subscription.on(Telemetry, lambda message: heard.append((message.epoch, message.offset)))
        while len(heard) < 4:
            await asyncio.sleep(0.01)
        assert heard == [("e", 1), "gap", ("f", 1), ("f", 2)]


HOSTILE = [
    "no JSON",
    "[]",
    "null",
    '"text"',
    '{"type":"batch","messages":[1]}',
    '{"type":"batch"}',
    '{"type":"telemetry"}',
    '{"type":"telemetry","deviceId":1,"payload":1,"serverTs":1,"epoch":"e","offset":1}',
    '{"type":"telemetry","deviceId":"a","payload":1,"serverTs":1,"epoch":"e","offset":"1"}',
    '{"type":"telemetry","deviceId":"a","payload":1,"serverTs":1e999,"epoch":"e","offset":1}',
    '{"type":"subscribed","rooms":{},"denied":[]}',
    '{"type":"subscribed","rooms":[],"denied":[1]}',
    '{"type":"snapshot","devices":[{"deviceId":"a","telemetry":[]}]}',
    '{"type":"device_status","deviceId":"a","isOnline":"yes","lastSeen":1,"serverTs":1}',
    '{"type":"device_meta","deviceId":"a","meta":[],"serverTs":1}',
    '{"type":"error","id":1,"error":{},"code":"x"}',
    '{"type":"error","error":"x","code":"x","retryAfterMs":' + "9" * 400 + "}",
    '{"type":"connected","serverTs":"now"}',
    "[" * 100_000,
    b"binary",
]


@pytest.mark.parametrize("frame", HOSTILE, ids=lambda frame: str(frame)[:60])
async def test_ends_a_connection_that_says_what_is_no_message_and_comes_back(frame: str | bytes) -> None:
    async def script(websocket: Any, count: int) -> None:
        if count == 0:
            await websocket.send(CONNECTED)
            await websocket.recv()
            await websocket.send(frame)
            await websocket.wait_closed()
        else:
            await obey(websocket)

    async with against(script) as sluice:
        errors: list[SluiceError] = []
        sluice.on(SluiceError, errors.append)
        assert await sluice.subscribe("a").ready() == ()
        assert [error.close_code for error in errors] == [1002]


async def test_takes_what_it_does_not_know_and_numbers_that_python_does_not_read() -> None:
    frames = [
        '{"type":"news from the future"}',
        '{"type":["a"]}',
        "{}",
        publication(1, more={"unknown": True}, skipped=0),
        publication(2).replace('"payload": 2', '"payload": {"n": ' + "7" * 10_000 + ', "t": 1.50}'),
        publication(3).replace('"payload": 3', '"payload": "\\ud800"'),
        '{"type":"command_sent","id":99,"deviceId":"a"}',
        '{"type":"subscribed","id":1,"rooms":[],"denied":[]}',
        '{"type":"pong","id":"x","serverTs":1}',
        '{"type":"upstream","mqtt":"up","changedAt":1,"behindMs":9000}',
        '{"type":"upstream","mqtt":"up","changedAt":1}',
    ]

    async def script(websocket: Any, _: int) -> None:
        await websocket.send(CONNECTED)
        number = json.loads(await websocket.recv())["id"]
        await websocket.send(json.dumps({"type": "subscribed", "id": number, "rooms": [room("a")], "denied": []}))
        for frame in frames:
            await websocket.send(frame)
        await websocket.wait_closed()

    async with against(script) as sluice:
        behind: list[int | None] = []
        sluice.on(Upstream, lambda upstream: behind.append(upstream.behind_ms))
        reader = sluice.subscribe("a").__aiter__()
        heard = [await reader.__anext__() for _ in range(3)]
        assert heard[1].payload == {"n": float("inf"), "t": 1.5}
        assert (heard[1].raw or "").endswith('"t": 1.50}')
        assert heard[2].payload == "\ud800"
        while len(behind) < 2:
            await sluice.once(Upstream)
        assert behind == [9000, None]
        assert sluice.state.name == "live"


async def test_drops_doubles_and_asks_again_where_one_is_missing() -> None:
    asked: list[Any] = []

    async def script(websocket: Any, _: int) -> None:
        await websocket.send(CONNECTED)
        for offsets in ([1, 2, 2, 1, 5, 6], [3, 4, 5], []):
            asked.append(json.loads(await websocket.recv()))
            rooms = [{**room("a"), **({"recovered": True} if "since" in asked[-1] else {})}]
            await websocket.send(json.dumps({"type": "subscribed", "id": asked[-1]["id"], "rooms": rooms, "denied": []}))
            for offset in offsets:
                await websocket.send(publication(offset))

    async with against(script) as sluice:
        pumps = sluice.subscribe("a")
        pumps.on(Gap, lambda gap: pytest.fail("no gap"))
        reader = pumps.__aiter__()
        assert [(await reader.__anext__()).payload for _ in range(5)] == [1, 2, 3, 4, 5]
        assert asked[1]["since"] == {"a": {"epoch": "e", "offset": 2}}


@pytest.mark.parametrize("target", ["a", "*"])
async def test_rewinds_a_further_subscription_also_where_the_device_speaks_before_the_answer(target: str) -> None:
    async def script(websocket: Any, _: int) -> None:
        await websocket.send(CONNECTED)
        for asked in range(2):
            message = json.loads(await websocket.recv())
            state = {**room("a"), "offset": 3 + asked, "rewoundFrom": 1 + asked}
            answer = {"type": "subscribed", "id": message["id"], "rooms": [state], "denied": [], **pattern_of(message)}
            if asked:
                await websocket.send(publication(4))
            await websocket.send(json.dumps(answer))
            for offset in range(2 + asked, 4 + asked):
                await websocket.send(publication(offset))
        await websocket.send(publication(5))
        await websocket.wait_closed()

    async with against(script) as sluice:
        subscribe: Any = sluice.subscribe_pattern if target == "*" else sluice.subscribe
        one = subscribe(target, rewind={"count": 2})
        reader = one.__aiter__()
        assert [(await reader.__anext__()).payload for _ in range(2)] == [2, 3]
        other = subscribe(target, rewind={"count": 2}).__aiter__()
        assert [(await other.__anext__()).payload for _ in range(3)] == [3, 4, 5]
        assert [(await reader.__anext__()).payload for _ in range(2)] == [4, 5]


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (1011, "internal error", ServerFault),
        (1013, '{"retryAfterMs":5}', Overloaded),
        (1013, '{"retryAfterMs":"soon"}', Overloaded),
        (4002, "token expired", TokenExpired),
        (4008, "slow consumer", SlowConsumer),
        (4999, "", ConnectionLost),
    ],
)
async def test_comes_back_after_a_close_and_says_why_it_was(code: int, reason: str, kind: type[SluiceError]) -> None:
    asked: list[bool] = []

    def token(rejected: bool) -> str:
        asked.append(rejected)
        return "t"

    async def script(websocket: Any, count: int) -> None:
        if count == 0:
            await websocket.send(CONNECTED)
            await websocket.close(code, reason)
        else:
            await obey(websocket)

    async with against(script, token=token) as sluice:
        errors: list[SluiceError] = []
        sluice.on(kind, errors.append)
        await sluice.subscribe("a").ready()
        assert [error.close_code for error in errors] == [code]
        assert asked == [False, code == 4002]


@pytest.mark.parametrize(("code", "kind"), [(1008, TooManyMessages), (1009, MessageTooBig)])
async def test_stays_closed_where_it_is_to_blame_until_connect(code: int, kind: type[SluiceError]) -> None:
    async def script(websocket: Any, count: int) -> None:
        await (obey(websocket) if count else websocket.close(code, ""))

    async with against(script) as sluice:
        pumps = sluice.subscribe("a")
        with pytest.raises(kind):
            await pumps.ready()
        with pytest.raises(kind):
            await sluice.subscribe("b").ready()
        with pytest.raises(kind):
            await pumps.__aiter__().__anext__()
        sluice.connect()
        assert await pumps.ready() == ()


async def test_waits_long_when_there_are_too_many_connections() -> None:
    async with against(lambda websocket, _: websocket.close(4009, "too many connections")) as sluice:
        sluice.connect()
        errors: list[SluiceError] = []
        sluice.on(TooManyConnections, errors.append)
        while sluice.state.name != "waiting":
            await sluice.once(ClientState)
        assert (sluice.state.retry_at or 0) - sluice.state.since > 29_000


async def test_repeats_a_subscription_over_the_rate_unless_it_is_not_wanted_any_more() -> None:
    asked: list[Any] = []

    async def script(websocket: Any, _: int) -> None:
        await websocket.send(CONNECTED)
        refused: set[str] = set()
        while True:
            message = json.loads(await websocket.recv())
            asked.append((message["type"], message["deviceIds"]))
            if message["type"] not in refused:
                refused.add(message["type"])
                error = {"type": "error", "id": message["id"], "error": "x", "code": "rate_limited", "retryAfterMs": 5}
                await websocket.send(json.dumps(error))
                continue
            answer = {"type": "subscribed", "id": message["id"], "rooms": [room("a")], "denied": []}
            await websocket.send(json.dumps(answer))

    async with against(script) as sluice:
        pumps = sluice.subscribe("a")
        await pumps.ready()
        pumps.close()
        while ("unsubscribe", ["a"]) not in asked:
            await asyncio.sleep(0.001)
        await sluice.subscribe("a").ready()
        await asyncio.sleep(0.03)
        # The refused unsubscribe is not repeated: it would end the subscription after it.
        assert [kind for kind, _ in asked] == ["subscribe", "subscribe", "unsubscribe", "subscribe"]


async def test_a_command_waits_for_a_connection_and_an_answer_no_longer_than_it_may() -> None:
    async def script(websocket: Any, count: int) -> None:
        await websocket.send(CONNECTED)
        await websocket.wait_closed()

    async with against(script, timeout_ms=30) as sluice:
        with pytest.raises(CommandTimeout):
            await sluice.command("a", 1)
        with pytest.raises(PayloadTooLarge):
            await sluice.command("a", "x" * 70_000)

    async def never(websocket: Any, count: int) -> None:
        await websocket.wait_closed()

    async with against(never, timeout_ms=30) as sluice:
        with pytest.raises(NotConnected):
            await sluice.command("a", 1)


async def test_a_connection_that_is_lost_takes_its_commands_with_it() -> None:
    async def script(websocket: Any, count: int) -> None:
        await websocket.send(CONNECTED)
        await websocket.recv()
        await websocket.close(1011, "")

    async with against(script) as sluice:
        with pytest.raises(ServerFault):
            await sluice.command("a", 1)


async def test_tries_again_when_the_token_function_fails() -> None:
    calls = 0

    async def token() -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError("the login is away")
        return None if calls == 2 else "t"

    async with against(obey, token=token) as sluice:
        errors: list[SluiceError] = []
        sluice.on(NoToken, errors.append)
        await sluice.subscribe("a").ready()
        assert [str(error) for error in errors] == [
            "The token function failed: OSError: the login is away",
            "The token function returned NoneType, not a str",
        ]


async def test_a_server_that_hangs_in_the_handshake_does_not_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connection, "OPEN_TIMEOUT_S", 0.05)
    monkeypatch.setattr(_connection, "LOOK_S", 0.01)
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    async with SluiceClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "t") as sluice:
        sluice.connect()
        while len(held) < 2:
            await sluice.once(ClientState)
    server.close()
    for writer in held:
        writer.transport.abort()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 503 no\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", Overloaded),
        (b"HTTP/1.1 302 no\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", ConnectionLost),
        (b"HTTP/1.1 404 no\r\nContent-Length: 0\r\n\r\n", ConnectionLost),
        (b"SSH-2.0\r\n", ConnectionLost),
        (b"", ConnectionLost),
    ],
)
async def test_says_what_answered_in_place_of_the_server(answer: bytes, kind: type[SluiceError]) -> None:
    requests: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with SluiceClient(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws?x=1", "t") as sluice:
        sluice.connect()
        error = await sluice.once(SluiceError)
        assert type(error) is kind and error.close_code == 1006
        assert error.retry_after_ms == (7_000 if kind is Overloaded else None)
        assert sluice.state.name == "waiting"
    server.close()
    assert requests[0].startswith(b"GET /ws?x=1&subscribe=none ")
    assert b"authorization: bearer t" in requests[0].lower()


async def test_a_token_too_long_for_a_header_is_the_first_message() -> None:
    first: list[Any] = []

    async def script(websocket: Any, count: int) -> None:
        first.append(json.loads(await websocket.recv()))
        await obey(websocket)

    async with against(script, token="t" * 9_000) as sluice:
        await sluice.subscribe("a").ready()
    assert first == [{"type": "auth", "token": "t" * 9_000}]


async def test_listeners_may_fail_subscribe_and_close_without_harm() -> None:
    failures: list[Any] = []
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))

    async def script(websocket: Any, count: int) -> None:
        await obey(websocket, count, [1, 2, 3])

    async with against(script) as sluice:
        pumps = sluice.subscribe("a")
        others = [sluice.subscribe("a") for _ in range(3)]

        def listener(message: Telemetry) -> None:
            others.append(sluice.subscribe("a"))
            others.pop(0).close()
            raise KeyError(message.payload)

        heard = pumps.events()
        pumps.on(Telemetry, listener)
        await pumps.ready()
        while len(failures) < 3:
            await heard.__anext__()
        assert [repr(failure) for failure in failures] == ["KeyError(1)", "KeyError(2)", "KeyError(3)"]

        async def coroutine(message: Telemetry) -> None: ...

        with pytest.raises(TypeError):
            pumps.on(Telemetry, coroutine)
    loop.set_exception_handler(handler)


@pytest.mark.parametrize("seed", range(4))
async def test_leaves_nothing_when_it_is_cancelled_at_any_moment(seed: int) -> None:
    rand = random.Random(seed)

    async def script(websocket: Any, count: int) -> None:
        async def end() -> None:
            await asyncio.sleep(rand.random() * 0.01)
            with contextlib.suppress(Exception):
                await websocket.close(rand.choice([1000, 1011, 1012, 4001, 4008]), "")

        ending = asyncio.create_task(end() if rand.random() < 0.5 else asyncio.sleep(0))
        try:
            await obey(websocket, count, [1, 2])
        finally:
            ending.cancel()

    async def use(sluice: SluiceClient) -> None:
        pumps = sluice.subscribe(["a", "b"], rewind={"count": 5})
        everything = sluice.subscribe_pattern("*")
        with contextlib.suppress(SluiceError):
            await asyncio.gather(pumps.ready(), sluice.command("a", 1, wait_ms=5), everything.ready(), sluice.refresh())
        async for _ in pumps:
            everything.close()
            await sluice.close()
            await sluice.subscribe("c").ready()

    async with against(script) as outer:
        url = outer._url
        for ticks in range(0, 120, 2):
            async with SluiceClient(url, lambda: "t") as sluice:
                using = asyncio.create_task(use(sluice))
                for _ in range(ticks + rand.randrange(3)):
                    await asyncio.sleep(0)
                using.cancel()
                await asyncio.wait({using})
                assert using.cancelled() or isinstance(using.exception(), (SluiceError, type(None)))
                with contextlib.suppress(Closed):
                    closing = asyncio.create_task(sluice.close())
                    await asyncio.sleep(0)
                    closing.cancel()


def test_refuses_wrong_use_at_once() -> None:
    for url in ("iot.example.com/ws", "ftp://iot.example.com", "ws://"):
        with pytest.raises(ValueError):
            SluiceClient(url, "t")
    with pytest.raises(RuntimeError):
        SluiceClient("ws://127.0.0.1", "t").subscribe("a")
