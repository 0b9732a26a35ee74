// A dashboard in a process of its own, for tests that run inside another network: prints every message as a line.
import WebSocket from 'ws';

const { SLUICE_URL, TOKEN, SUBSCRIBE } = process.env;
const socket = new WebSocket(SLUICE_URL, { headers: { authorization: `Bearer ${TOKEN}` } });
if (SUBSCRIBE) {
  socket.on('open', () => socket.send(JSON.stringify({ type: 'subscribe', deviceIds: [SUBSCRIBE] })));
}
socket.on('message', (data) => console.log(String(data)));
socket.on('error', (error) => console.log(`error ${error.message}`));
socket.on('close', (code) => console.log(`closed ${code}`));
