// Run by `helm test` in a pod of Sluice's own image: opens a WebSocket through the Service. Where the chart knows
// the HS256 key it comes in with a token of its own; elsewhere being refused with 4001 shows that Sluice answers.
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import WebSocket from 'ws';

const { SLUICE_URL: url, JWT_SECRET_FILE: file, JWT_ISSUER: iss, JWT_AUDIENCE: aud } = process.env;

function token() {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const key = readFileSync(file, 'utf8').replace(/[\r\n]+$/, '');
  const exp = Math.floor(Date.now() / 1000) + 60;
  const claims = { userId: 'helm-test', deviceIds: [], exp, iss, aud };
  const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${text}.${createHmac('sha256', key).update(text).digest('base64url')}`;
}

const socket = new WebSocket(url, {
  handshakeTimeout: 10_000,
  headers: { authorization: `Bearer ${file ? token() : 'none'}` },
});

function end(status, text) {
  if (process.exitCode === undefined) {
    process.exitCode = status;
    console.log(text);
    clearTimeout(deadline);
    socket.terminate();
  }
}

const deadline = setTimeout(() => end(1, `no answer from ${url} within 30 s`), 30_000);
socket.on('error', (error) => end(1, `cannot connect to ${url}: ${error.message}`));
socket.on('message', (data) => {
  const { type, protocol } = JSON.parse(data);
  end(type === 'connected' ? 0 : 1, `${url} answered ${type} (${protocol})`);
});
socket.on('close', (code) =>
  end(!file && code === 4001 ? 0 : 1, `${url} closed the connection with ${code}`),
);
