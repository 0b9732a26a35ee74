#!/usr/bin/env python3
"""Watches a fleet from a backend, and commands a device. Environment: SLUICE_URL, TOKEN."""

import asyncio
import os
import sys
import uuid

from sluice_client import ClientState, Denied, Gap, Rewind, SluiceClient, SluiceError, Telemetry

URL = os.environ.get("SLUICE_URL", "ws://localhost:8080/ws")


async def token() -> str:
    """Asked at every connect, and again before it ends: get a new one from your login here."""
    return os.environ["TOKEN"]


async def main() -> None:
    async with SluiceClient(URL, token=token) as sluice:
        sluice.on(ClientState, lambda state: print(state.reason or state.name, file=sys.stderr))
        pumps = sluice.subscribe_pattern("pump-*", rewind=Rewind(count=10))
        events = pumps.events()
        await pumps.ready()
        try:
            key = str(uuid.uuid4())
            answer = await sluice.command("pump-1", {"id": key, "speed": 1200}, wait_ms=5_000, key=key)
            print("pump-1 answered", answer.result)
        except SluiceError as error:
            print("the command failed:", error.code)
        async for event in events:
            match event:
                case Telemetry():
                    print(event.server_ts, event.device_id, event.payload, flush=True)
                case Gap():
                    print(f"{event.device_id}: publications are missing here")
                case Denied():
                    sys.exit(f"The token does not grant {event.device_ids}")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
