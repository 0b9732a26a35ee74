#!/usr/bin/env python3
"""A pump, with Eclipse Paho 1.6 or 2. Arguments: device id, broker's host and port.

It says that it is online, and lets the broker say that it is not; publishes once a second; and answers commands that have an id.
"""

import json
import math
import sys
import time

import paho.mqtt.client as mqtt

device_id = sys.argv[1] if len(sys.argv) > 1 else "pump-1"
host = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
port = int(sys.argv[3]) if len(sys.argv) > 3 else 1883
topic = f"devices/{device_id}"
speed = 1_000


def on_connect(client, userdata, flags, reason, properties=None):
    client.subscribe(f"{topic}/commands", qos=1)
    client.publish(f"{topic}/status", '{"online":true}', qos=1, retain=True)
    client.publish(f"{topic}/meta", json.dumps({"name": device_id, "units": {"flow": "l/min"}}), qos=1, retain=True)


def on_message(client, userdata, message):
    """A command may come twice, and may be anything: obeying it twice does no harm here."""
    global speed
    command = json.loads(message.payload)
    if not isinstance(command, dict):
        return
    if isinstance(command.get("speed"), (int, float)):
        speed = command["speed"]
    if "id" in command:
        client.publish(f"{topic}/replies", json.dumps({"id": command["id"], "speed": speed}), qos=1)


versions = getattr(mqtt, "CallbackAPIVersion", None)
client = mqtt.Client(versions.VERSION2) if versions else mqtt.Client()
client.will_set(f"{topic}/status", '{"online":false}', qos=1, retain=True)
client.on_connect = on_connect
client.on_message = on_message
client.connect(host, port, keepalive=30)
client.loop_start()
try:
    while True:
        flow = round(speed / 40 + 2 * math.sin(time.time()), 2)
        client.publish(f"{topic}/telemetry", json.dumps({"flow": flow, "speed": speed}), qos=1)
        time.sleep(1)
except KeyboardInterrupt:
    client.publish(f"{topic}/status", '{"online":false}', qos=1, retain=True).wait_for_publish(5)
    client.disconnect()
    client.loop_stop()
