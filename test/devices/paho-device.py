"""A device of another maker's library (Eclipse Paho): answers commands by MQTT 5. Arguments: port, device id."""

import json
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

port, device_id = int(sys.argv[1]), sys.argv[2]


def on_connect(client, userdata, flags, reason, properties):
    client.subscribe(f"devices/{device_id}/commands", qos=1)


def on_subscribe(client, userdata, mid, reasons, properties):
    print("subscribed", flush=True)


def on_message(client, userdata, command):
    answer = Properties(PacketTypes.PUBLISH)
    answer.CorrelationData = command.properties.CorrelationData
    answer.UserProperty = ("firmware", "1.2.3")
    payload = json.dumps({"did": json.loads(command.payload)})
    client.publish(command.properties.ResponseTopic, payload, qos=1, properties=answer)


device = mqtt.Client(client_id=f"device-{device_id}", protocol=mqtt.MQTTv5)
device.on_connect = on_connect
device.on_subscribe = on_subscribe
device.on_message = on_message
device.connect("127.0.0.1", port)
device.loop_forever()
