import { checkExpressions } from './exported-metrics.js';

const check = (expr: string): string[] => checkExpressions([{ where: 'here', expr }]);

describe('the check of expressions', () => {
  it('accepts what is exported', () => {
    expect(
      check('rate(sluice_connections_total{job="sluice",outcome=~"accepted|unauthorized"}[5m])'),
    ).toEqual([]);
    expect(check('sluice_delivery_latency_seconds_bucket{le="1"}')).toHaveLength(0);
  });

  it('names a metric, a label and a value that are not', () => {
    expect(check('sluice_connection_open{job="sluice"}')).toEqual([
      'here: sluice_connection_open is not exported',
    ]);
    expect(check('sluice_connections_open{code="1012"}')).toEqual([
      'here: sluice_connections_open has no label code',
    ]);
    expect(check('sluice_commands_total{outcome="lost"}')).toEqual([
      'here: sluice_commands_total has no outcome lost',
    ]);
  });

  it('does not let an expression without a selector pass', () => {
    expect(check('vector(1)')).toEqual(['here: no selector']);
  });
});
