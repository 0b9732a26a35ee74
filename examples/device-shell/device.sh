#!/usr/bin/env bash
# A sensor in shell, with mosquitto_pub. Arguments: device id, broker's host and port.
# One connection for all values, and a will: the broker says that the device is gone when the connection ends.
id=${1:-pump-2} host=${2:-127.0.0.1} port=${3:-1883}
topic=devices/$id

send() { mosquitto_pub -h "$host" -p "$port" -q 1 -t "$topic/$1" "${@:2}"; }
values() {
  while echo "{\"flow\":$((20 + RANDOM % 10)).$((RANDOM % 10))}" && sleep 1; do :; done
}

send status -r -m '{"online":true}' || exit 1
send meta -r -m "{\"name\":\"$id\",\"units\":{\"flow\":\"l/min\"}}" || exit 1
exec mosquitto_pub -h "$host" -p "$port" -q 1 -t "$topic/telemetry" -l \
  --will-topic "$topic/status" --will-payload '{"online":false}' --will-qos 1 --will-retain < <(values)
