const SAMPLE_KEY = 'dGhlIHNhbXBsZSBub25jZQ==';

/**
 * The bytes of an upgrade request.
 *
 * @param {{host: string, path: string, token: string, headers?: string[]}} options
 */
export function upgradeRequest({ host, path, token, headers = [] }) {
  const lines = [
    `GET ${path} HTTP/1.1`,
    `Host: ${host}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${SAMPLE_KEY}`,
    `Authorization: Bearer ${token}`,
    ...headers,
  ];
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/**
 * A client's frame. The mask is zero: it must be there, and nothing says that it must change the bytes.
 *
 * @param {number} opcode
 * @param {Buffer} payload under 64 KiB
 */
export function encodeClientFrame(opcode, payload) {
  const long = payload.length > 125;
  const header = Buffer.alloc(long ? 8 : 6);
  header[0] = 0x80 | opcode;
  header[1] = 0x80 | (long ? 126 : payload.length);
  if (long) {
    header.writeUInt16BE(payload.length, 2);
  }
  return Buffer.concat([header, payload]);
}
