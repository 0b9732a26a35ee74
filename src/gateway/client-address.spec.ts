import type { IncomingMessage } from 'node:http';
import { clientAddress } from './client-address.js';

const request = (remoteAddress: string, forwarded?: string): IncomingMessage =>
  ({
    socket: { remoteAddress },
    connection: { remoteAddress },
    headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded },
  }) as unknown as IncomingMessage;

describe(clientAddress.name, () => {
  it('is the peer when no proxy is trusted, whatever the header says', () => {
    expect(clientAddress([])(request('10.0.0.1', '1.2.3.4'))).toBe('10.0.0.1');
  });

  it('is what the last trusted proxy has seen', () => {
    const address = clientAddress(['10.0.0.0/8', '::1']);
    expect(address(request('10.0.0.1', '6.6.6.6, 1.2.3.4, 10.2.2.2'))).toBe('1.2.3.4');
    expect(address(request('10.0.0.1'))).toBe('10.0.0.1');
    expect(address(request('::1', '2001:db8::7'))).toBe('2001:db8::7');
  });

  it('is the peer when the peer is not trusted', () => {
    expect(clientAddress(['10.0.0.0/8'])(request('11.0.0.1', '1.2.3.4'))).toBe('11.0.0.1');
  });

  it('refuses a setting that is no address at start', () => {
    expect(() => clientAddress(['nonsense'])).toThrow(TypeError);
  });
});
