import type { IncomingMessage } from 'node:http';
import { ClientAddress } from './door.js';

const request = (remoteAddress: string, forwarded?: string): IncomingMessage =>
  ({
    socket: { remoteAddress },
    headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded },
  }) as unknown as IncomingMessage;

describe(ClientAddress.name, () => {
  const behind = (forwarded?: string, peer = '10.0.0.1'): string =>
    new ClientAddress(['10.0.0.0/8', '::1']).of(request(peer, forwarded));

  it('is the peer when no proxy is trusted, whatever the header says', () => {
    expect(new ClientAddress([]).of(request('10.0.0.1', '1.2.3.4'))).toBe('10.0.0.1');
  });

  it('is what the last trusted proxy has seen', () => {
    expect(behind('6.6.6.6, 1.2.3.4, 10.2.2.2')).toBe('1.2.3.4');
    expect(behind('10.3.3.3, 10.2.2.2')).toBe('10.3.3.3');
    expect(behind()).toBe('10.0.0.1');
    expect(behind('2001:db8::7', '::1')).toBe('2001:db8:0:0::/64');
  });

  it('is the peer when the peer is not trusted', () => {
    expect(behind('1.2.3.4', '11.0.0.1')).toBe('11.0.0.1');
  });

  // Defect: a client that came through a proxy that writes ports, or wrote its own address in many ways, was another address each time.
  it.each([
    '1.2.3.4:80',
    ' 1.2.3.4\t',
    '::ffff:1.2.3.4',
    '::FFFF:1.2.3.4',
    '0:0:0:0:0:ffff:102:304',
    '[::ffff:1.2.3.4]:443',
    '[::ffff:1.2.3.4]',
    '9.9.9.9, 1.2.3.4:1, 10.2.2.2:443, ::ffff:10.9.9.9',
  ])('is 1.2.3.4 where a proxy writes %j', (forwarded) => {
    expect(behind(forwarded)).toBe('1.2.3.4');
  });

  it('is the proxy where that has written what is no address', () => {
    for (const forwarded of [
      'unknown',
      '',
      ' ',
      ',',
      '1.2.3',
      '1.2.3.4.5',
      '::1::',
      '[1.2.3.4',
      '1.2.3.4, x',
    ]) {
      expect([forwarded, behind(forwarded)]).toEqual([forwarded, '10.0.0.1']);
    }
    expect(behind('1.2.3.4, unknown, 10.2.2.2')).toBe('10.2.2.2');
  });

  it('is the /64 of an IPv6 address', () => {
    for (const [written, counted] of [
      ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
      ['2001:DB8:1:2::', '2001:db8:1:2::/64'],
      ['[2001:db8:1:2::9]:443', '2001:db8:1:2::/64'],
      ['fe80::1%eth0', 'fe80:0:0:0::/64'],
      ['64:ff9b::1.2.3.4', '64:ff9b:0:0::/64'],
      ['::', '0:0:0:0::/64'],
    ] as const) {
      expect([written, behind(written)]).toEqual([written, counted]);
      expect(new ClientAddress([]).of(request(written.replace(/^\[|\]:443$/g, '')))).toBe(counted);
    }
    expect(new ClientAddress([]).of(request('::ffff:1.2.3.4'))).toBe('1.2.3.4');
  });

  it('reads no more of the header than so many proxies', () => {
    const forwarded = ['1.2.3.4', ...Array<string>(5_000).fill('10.2.2.2')].join();
    expect(behind(forwarded)).toBe('10.2.2.2');
  });

  it('has no peer where a trusted proxy stands for many', () => {
    const addresses = new ClientAddress(['10.0.0.0/8']);
    const peer = (address: string) => addresses.ofPeer(request(address).socket);
    expect(['10.0.0.1', '::ffff:10.0.0.1', '11.0.0.1'].map(peer)).toEqual([undefined, undefined, '11.0.0.1']);
  });

  it('refuses a setting that is no address at start', () => {
    expect(() => new ClientAddress(['nonsense'])).toThrow(TypeError);
  });
});
