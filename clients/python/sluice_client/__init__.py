"""Live device data from Sluice: exactly once over lost connections, history, commands.

    async with SluiceClient("wss://iot.example.com/ws", token=fetch_token) as sluice:
        async for message in sluice.subscribe("pump-1", rewind=Rewind(ms=60_000)):
            print(message.device_id, message.payload)
"""

from ._client import ClientState, CommandAnswer, CommandReply, Raw, SluiceClient
from ._errors import *  # noqa: F403
from ._errors import __all__ as _errors
from ._messages import (
    Aggregated,
    Denied,
    DeviceFound,
    DeviceMeta,
    DeviceState,
    DeviceStatus,
    Dropped,
    Gap,
    Position,
    Telemetry,
    Upstream,
)
from ._options import Rewind
from ._subscription import Reader, Subscription, SubscriptionEvent

__version__ = "0.2.0"

__all__ = [
    "Aggregated",
    "ClientState",
    "CommandAnswer",
    "CommandReply",
    "Denied",
    "DeviceFound",
    "DeviceMeta",
    "DeviceState",
    "DeviceStatus",
    "Dropped",
    "Gap",
    "Position",
    "Raw",
    "Reader",
    "Rewind",
    "SluiceClient",
    "Subscription",
    "SubscriptionEvent",
    "Telemetry",
    "Upstream",
    *_errors,
]
