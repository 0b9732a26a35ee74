import { grantProblems } from './broker-answers.js';

describe(grantProblems.name, () => {
  const needed = { sessionExpiryS: 3600, shared: false };

  it('has nothing to say of a broker that grants everything, or says nothing (MQTT 3.1.1)', () => {
    expect(grantProblems(undefined, needed)).toEqual([]);
    expect(grantProblems({ receiveMaximum: 20, sharedSubscriptionAvailable: false }, needed)).toEqual([]);
  });

  it.each([
    [{ maximumQoS: 0 }, /QoS 1/],
    [{ retainAvailable: false }, /retains no messages/],
    [{ wildcardSubscriptionAvailable: false }, /wildcard/],
    [{ sessionExpiryInterval: 60 }, /60 s, not 3600 s/],
    [{ maximumPacketSize: 1024 }, /1024 bytes/],
  ])('names %j', (properties, problem) => {
    expect(grantProblems(properties, needed)).toEqual([expect.stringMatching(problem)]);
  });

  it('needs shared subscriptions only where they are used', () => {
    expect(grantProblems({ sharedSubscriptionAvailable: false }, { ...needed, shared: true })).toEqual([
      expect.stringMatching(/MQTT_INGEST=leased/),
    ]);
  });
});
