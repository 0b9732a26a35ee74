"""The client against the real server, over a network that fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from conftest import Device, Proxy, Server, sign

from sluice_client import (
    BadMessage,
    ClientState,
    Closed,
    ConnectionLost,
    Denied,
    DeviceFound,
    DeviceMeta,
    DeviceState,
    DeviceStatus,
    Dropped,
    Forbidden,
    Gap,
    KeyConflict,
    NoToken,
    NotConnected,
    Raw,
    Rewind,
    ServerStopping,
    SluiceClient,
    SluiceError,
    Telemetry,
    TooManyRooms,
    Unauthorized,
    _connection,
    _reconnect,
)


@contextlib.asynccontextmanager
async def lab(server: Server, **options: Any) -> AsyncIterator[tuple[SluiceClient, Device, Proxy]]:
    """A client behind a network, and a device."""
    proxy = Proxy(server.port)
    await proxy.start()
    device = Device(server.mqtt_port)
    try:
        async with SluiceClient(proxy.url, **{"token": sign(), **options}) as sluice:
            yield sluice, device, proxy
    finally:
        device.stop()
        await proxy.stop()


async def state(sluice: SluiceClient, name: str) -> ClientState:
    while sluice.state.name != name:
        await sluice.once(ClientState)
    return sluice.state


async def stored(server: Server, device_id: str, payload: Any, meta: Any = None) -> None:
    """Until who subscribes now is shown this: the broker acknowledges before the server has it."""
    async with SluiceClient(f"ws://127.0.0.1:{server.port}/ws", token=sign()) as witness:
        watched = witness.subscribe(device_id)
        while True:
            known = watched.get(device_id)
            if known is not None and known.telemetry is not None:
                if known.telemetry.payload == payload and (meta is None or known.meta == meta):
                    return
            await asyncio.sleep(0.01)


async def payloads(reader: Any, count: int) -> list[Any]:
    return [(await reader.__anext__()).payload for _ in range(count)]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reconnect, "BASE_MS", 20)
    monkeypatch.setattr(_reconnect, "RETRY_JITTER_MS", 20)


async def test_gives_what_is_known_and_then_every_publication_in_order(server: Server) -> None:
    async with lab(server) as (sluice, device, _):
        await device.publish_text("known", '{"name":"Pump"}', "meta")
        await device.publish("known", {"t": 1})
        await stored(server, "known", {"t": 1}, {"name": "Pump"})
        pumps = sluice.subscribe("known")
        events = pumps.events()
        assert await pumps.ready() == ()
        first = await events.__anext__()
        assert isinstance(first, DeviceState)
        assert first.telemetry is not None and first.telemetry.payload == {"t": 1}
        assert first.meta == {"name": "Pump"}
        await device.publish_text("known", '{ "t":1.50, "n":12345678901234567890 }')
        second = await events.__anext__()
        assert isinstance(second, Telemetry)
        assert second.raw == '{ "t":1.50, "n":12345678901234567890 }'
        assert second.payload == {"t": 1.5, "n": 12345678901234567890}
        assert second.meta == {"name": "Pump"} and second.offset == first.telemetry.offset + 1
        await device.publish_text("known", '{"online":true}', "status")
        await device.publish_text("known", '{"name":"Pump 1"}', "meta")
        assert isinstance(await events.__anext__(), DeviceStatus)
        changed = await events.__anext__()
        assert isinstance(changed, DeviceMeta) and changed.meta == {"name": "Pump 1"}
        known = pumps.get("known")
        assert known is not None and known.telemetry == second and known.status is not None and known.status.is_online
        assert pumps.get("other") is None


async def test_keeps_what_comes_before_the_first_reader_begins(server: Server) -> None:
    async with lab(server) as (sluice, device, _):
        await device.publish("early", *range(5))
        await stored(server, "early", 4)
        pumps = sluice.subscribe("early", rewind={"count": 3})
        heard = sluice.subscribe("early", rewind=Rewind(count=5)).__aiter__()
        assert await payloads(heard, 5) == [0, 1, 2, 3, 4]
        assert await payloads(pumps.__aiter__(), 3) == [2, 3, 4]


async def test_says_what_the_token_does_not_grant_and_asks_again_with_the_next_one(server: Server) -> None:
    granted = ["mine"]
    async with lab(server, token=lambda: sign(granted)) as (sluice, device, _):
        both = sluice.subscribe(["mine", "theirs"])
        all_of_them = sluice.subscribe_pattern("their*")
        events = both.events()
        assert await both.ready() == ("theirs",)
        assert await all_of_them.ready() == ("their*",)
        assert await events.__anext__() == Denied(("theirs",), "forbidden")
        granted.append("their*")
        await sluice.refresh()
        await device.publish("theirs", 1)
        assert isinstance(await all_of_them.events().__anext__(), Denied)
        while (known := both.get("theirs")) is None or known.telemetry is None:
            await asyncio.sleep(0.01)
        assert known.telemetry.payload == 1
        granted.remove("their*")
        await sluice.refresh()
        while (event := await events.__anext__()) != Denied(("theirs",), "forbidden"):
            assert not isinstance(event, Denied)


async def test_finds_present_and_future_devices_of_a_pattern(server: Server) -> None:
    async with lab(server) as (sluice, device, _):
        await device.publish("hall-a", 1)
        await stored(server, "hall-a", 1)
        hall = sluice.subscribe_pattern("hall-**")
        events = hall.events()
        assert await hall.ready() == ()
        assert await events.__anext__() == DeviceFound("hall-a")
        known = await events.__anext__()
        assert isinstance(known, DeviceState) and known.device_id == "hall-a"
        await device.publish("hall-b", 2)
        assert await events.__anext__() == DeviceFound("hall-b")
        reader = hall.__aiter__()
        await device.publish("hall-b", 3)
        while await payloads(reader, 1) != [3]:
            pass


# The server announces a new device to one of two patterns that match it, and to none where it is watched by id: the others heard nothing
# of it before the next connection.
async def test_brings_a_new_device_to_all_patterns_that_match_it(server: Server) -> None:
    async with lab(server) as (sluice, device, _):
        by_id = sluice.subscribe("yard-a-n")
        patterns = [sluice.subscribe_pattern(text) for text in ("yard-*", "*-n")]
        for one in (by_id, *patterns):
            await one.ready()
        readers = [one.__aiter__() for one in patterns]
        await device.publish("yard-a-n", 1, 2)
        for reader in readers:
            assert await payloads(reader, 2) == [1, 2]
        events = [one.events() for one in patterns]
        await device.publish("yard-b-n", 3)
        for reader in events:
            while await reader.__anext__() != DeviceFound("yard-b-n"):
                pass


async def test_shares_one_subscription_and_each_hears_its_own(server: Server) -> None:
    async with lab(server) as (sluice, device, _):
        whole = sluice.subscribe("shared").__aiter__()
        part = sluice.subscribe("shared", fields=["b.c"]).__aiter__()
        summary = sluice.subscribe("shared", max_rate_hz=20, aggregate=True, fields=["a"])
        await summary.ready()
        for a in (1, 2, 3):
            await device.publish("shared", {"a": a, "b": {"c": -a, "d": 0}})
        assert await payloads(whole, 3) == [{"a": a, "b": {"c": -a, "d": 0}} for a in (1, 2, 3)]
        assert await payloads(part, 3) == [{"b": {"c": -a}} for a in (1, 2, 3)]
        count = 0
        async for message in summary:
            assert message.aggregated is not None
            count += message.aggregated.count
            if count == 3:
                assert message.payload["a"]["last"] == 3
                break


async def test_hears_every_publication_once_through_cuts_of_the_network(server: Server) -> None:
    # The default limits of history let 1 000 wait.
    async with lab(server) as (sluice, device, proxy):
        pumps = sluice.subscribe(["a", "b"], keep=10_000)
        other = sluice.subscribe_pattern("a*", keep=10_000)
        await asyncio.gather(pumps.ready(), other.ready())
        for subscription in (pumps, other):
            subscription.on(Gap, lambda gap: pytest.fail(f"{gap}"))
        total = 300
        reader, pattern_reader = pumps.__aiter__(), other.__aiter__()

        async def publish() -> None:
            for number in range(total):
                await device.publish("a", number)
                await device.publish("b", number)
                if number % 75 == 20:
                    proxy.cut()

        heard: dict[str, list[int]] = {"a": [], "b": []}
        publishing = asyncio.create_task(publish())
        while sum(map(len, heard.values())) < 2 * total:
            message = await reader.__anext__()
            heard[message.device_id].append(message.payload)
        await publishing
        assert heard == {"a": list(range(total)), "b": list(range(total))}
        assert await payloads(pattern_reader, total) == list(range(total))
        assert proxy.accepted >= 4


async def test_says_that_there_is_a_gap_when_the_server_was_killed_and_goes_on_by_itself(server: Server) -> None:
    async with lab(server) as (sluice, device, proxy):
        pumps = sluice.subscribe("c")
        events = pumps.events()
        await pumps.ready()
        await device.publish("c", 1, 2)
        heard = [await events.__anext__() for _ in range(2)]
        errors: list[SluiceError] = []
        sluice.on(SluiceError, errors.append)
        await asyncio.to_thread(server.end, signal.SIGKILL)
        assert (await state(sluice, "waiting")).retry_at is not None
        assert isinstance(errors[0], ConnectionLost) and errors[0].close_code == 1006
        async with SluiceClient(proxy.url, sign(), timeout_ms=50) as other:
            with pytest.raises(NotConnected):
                await other.command("c", 1)
        await asyncio.to_thread(server.start)
        assert await events.__anext__() == Gap("c")
        await state(sluice, "live")
        await device.connected()
        numbers = list(range(3, 53))
        await device.publish("c", *numbers)
        heard += [await events.__anext__() for _ in numbers]
        assert [one.payload for one in heard if isinstance(one, Telemetry)] == [1, 2, *numbers]


async def test_notices_a_dead_link_and_resumes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connection, "LOOK_S", 0.05)
    monkeypatch.setattr(_connection, "QUIET_S", 0.2)
    monkeypatch.setattr(_connection, "ANSWER_S", 0.2)
    async with lab(server) as (sluice, device, proxy):
        pumps = sluice.subscribe("e")
        await pumps.ready()
        await state(sluice, "live")
        await device.publish("e", 1)
        reader = pumps.__aiter__()
        assert await payloads(reader, 1) == [1]
        proxy.stall()
        await device.publish("e", 2)
        await state(sluice, "waiting")
        proxy.cut()
        proxy.heal()
        assert await payloads(reader, 1) == [2]


async def test_sends_a_command_once_and_brings_its_answer(server: Server) -> None:
    async with lab(server) as (sluice, device, _):
        go = {"speed": 1200, "id": 7}
        answer = await sluice.command("f", go, wait_ms=5_000, key="k1")
        assert answer.delivered is None  # the embedded broker cannot tell
        assert answer.result is not None and answer.result.outcome == "replied"
        assert answer.result.payload == {"id": 7, "did": go}
        again = await sluice.command("f", go, wait_ms=5_000, key="k1")
        assert again.result == answer.result and device.commands == [go]
        with pytest.raises(KeyConflict):
            await sluice.command("f", {"speed": 1}, key="k1")
        silent = await sluice.command("f", "be silent", wait_ms=50)
        assert silent.result is not None and silent.result.outcome == "timeout"
        assert (await sluice.command("f", Raw('{"v":1.50}'))).result is None
        with pytest.raises(BadMessage):
            await sluice.command("f", object())
        with pytest.raises(BadMessage):
            await sluice.command("f", float("nan"))
        with pytest.raises(BadMessage):
            await sluice.command("f", 1, wait_ms=-1)


async def test_says_why_a_command_was_not_sent(server: Server) -> None:
    async with lab(server, token=sign(["g"], permissions=["read"])) as (sluice, device, _):
        with pytest.raises(Forbidden) as refused:
            await sluice.command("g", 1)
        assert refused.value.code == "forbidden" and device.commands == []


async def test_shows_a_newer_token_before_the_old_one_ends(server: Server) -> None:
    asked: list[bool] = []

    async def token(rejected: bool) -> str:
        asked.append(rejected)
        await asyncio.sleep(0)
        return sign(lifetime_s=3 if len(asked) == 1 else 3_600)

    async with lab(server, token=token) as (sluice, device, proxy):
        pumps = sluice.subscribe("h")
        await pumps.ready()
        while len(asked) < 2:
            await asyncio.sleep(0.05)
        await sluice.refresh()
        await device.publish("h", 1)
        assert await payloads(pumps.__aiter__(), 1) == [1]
        assert not any(asked) and len(asked) <= 3 and proxy.accepted == 1


async def test_raises_in_who_waits_when_there_is_no_other_token(server: Server) -> None:
    async with lab(server, token="eyJhbGciOi.no.token") as (sluice, device, _):
        errors: list[SluiceError] = []
        sluice.on(SluiceError, errors.append)
        pumps = sluice.subscribe("i")
        with pytest.raises(NoToken) as error:
            await pumps.ready()
        assert error.value.close_code == 4001 and isinstance(errors[0], Unauthorized)
        with pytest.raises(NoToken):
            async for _message in pumps:
                pass
        with pytest.raises(NoToken):
            await sluice.command("i", 1)
        assert sluice.state.name == "closed" and sluice.state.code == 4001


async def test_watches_a_thousand_devices_with_long_names_and_comes_back_to_them(server: Server) -> None:
    ids = [f"{number:04}" + "漢" * 124 for number in range(1_000)]
    async with lab(server) as (sluice, device, proxy):
        many = sluice.subscribe(ids)
        assert await many.ready() == ()
        reader = many.__aiter__()
        for number in (0, 2):
            await device.publish(ids[0], number)
            await device.publish(ids[999], number + 1)
            assert await payloads(reader, 2) == [number, number + 1]
            await state(sluice, "live")
            proxy.cut()
        with pytest.raises(TooManyRooms):
            await sluice.subscribe([f"more-{number}" for number in range(5_000)]).ready()


async def test_a_slow_reader_loses_the_oldest_and_is_told(server: Server) -> None:
    async with lab(server) as (sluice, device, _):
        pumps = sluice.subscribe("j", keep=3)
        reader, events = pumps.__aiter__(), pumps.events()
        await pumps.ready()
        last = asyncio.create_task(pumps.once(Telemetry))
        await device.publish("j", *range(9))
        while last.done() is False or last.result().payload < 8:
            last = asyncio.create_task(pumps.once(Telemetry)) if last.done() else last
            known = pumps.get("j")
            if known is not None and known.telemetry is not None and known.telemetry.payload == 8:
                break
            await asyncio.sleep(0.01)
        last.cancel()
        first = await reader.__anext__()
        assert (first.payload, first.dropped) == (6, 6)
        assert (await reader.__anext__()).dropped == 0
        dropped = await events.__anext__()
        assert isinstance(dropped, Dropped) and dropped.count >= 6


async def test_close_ends_every_wait_and_the_next_use_opens_it_again(server: Server) -> None:
    async with lab(server) as (sluice, device, _):
        pumps = sluice.subscribe("k")
        await pumps.ready()
        reading = asyncio.create_task(pumps.__aiter__().__anext__())
        commanding = asyncio.create_task(sluice.command("k", "be silent", wait_ms=60_000))
        while "be silent" not in device.commands:
            await asyncio.sleep(0.01)
        await sluice.close()
        with pytest.raises(StopAsyncIteration):
            await reading
        with pytest.raises(Closed):
            await commanding
        assert pumps.closed and sluice.state.name == "closed"
        with sluice.subscribe("k") as again:
            await again.ready()
            await device.publish("k", 2)
            assert await payloads(again.__aiter__(), 1) == [2]
        assert again.closed


async def test_the_last_subscription_of_a_device_leaves_it(server: Server) -> None:
    async with lab(server) as (sluice, device, _):
        one, other = sluice.subscribe("l"), sluice.subscribe("l")
        await asyncio.gather(one.ready(), other.ready())
        one.close()
        await device.publish("l", 1)
        assert await payloads(other.__aiter__(), 1) == [1]
        other.close()
        again = sluice.subscribe("l", rewind={"count": 1})
        await again.ready()
        assert await payloads(again.__aiter__(), 1) == [1]


async def test_takes_batches(server: Server) -> None:
    async with lab(server, batch_ms=50) as (sluice, device, _):
        pumps = sluice.subscribe("m")
        await pumps.ready()
        await device.publish_text("m", "1.50")
        await device.publish_text("m", "2.50")
        reader = pumps.__aiter__()
        messages = [await reader.__anext__() for _ in range(2)]
        assert [message.raw for message in messages] == ["1.50", "2.50"]
        assert json.loads(messages[1].raw or "") == messages[1].payload


async def test_waits_as_long_as_the_server_says_when_it_stops(server: Server) -> None:
    """The last one here: the server is not started again."""
    async with lab(server) as (sluice, _, _proxy):
        errors: list[SluiceError] = []
        sluice.on(ServerStopping, errors.append)
        await sluice.subscribe("n").ready()
        await asyncio.to_thread(server.end, signal.SIGTERM)
        while not errors:
            await sluice.once(ClientState)
        assert errors[0].close_code == 1012 and errors[0].retry_after_ms is not None
        assert sluice.state.name == "waiting" and sluice.state.code == 1012
