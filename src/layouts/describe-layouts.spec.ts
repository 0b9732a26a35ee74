import { compileLayouts } from './compile/compile.js';
import { brokerRights, emqxAcl, layoutLines, mosquittoAcl } from './describe-layouts.js';
import { parseLayoutFile } from './compile/layout-file.js';

const layouts = compileLayouts(
  parseLayoutFile(`
version: 1
layouts:
  shelly:
    device: "shelly.{dev}"
    telemetry: [ { topic: "shellies/{dev}/status/{component}", as: field } ]
    status: [ { topic: "shellies/{dev}/online", online: "true", offline: "false" } ]
    command:
      topic: "shellies/{dev}/rpc"
      allow: { /method: [Switch.Set] }
      payload: { json: { id: "{seq}", src: "sluice/{instance}", method: "{/method}", params: "{/params?}" } }
      reply: { topic: "sluice/{instance}/rpc", match: /id, within: 5s }
  own: { preset: sluice, device: "own.{device}" }
`),
  { ingest: 'leased' },
);

describe('what config:check prints of the layouts', () => {
  it('names the form of the ids, the topics and what is subscribed', () => {
    expect(layoutLines(layouts)).toEqual([
      'shelly: devices shelly.{dev} from shellies/{dev}/status/{component}, shellies/{dev}/online; commands to shellies/{dev}/rpc',
      'own: devices own.{device} from devices/{device}/telemetry, devices/{device}/status, devices/{device}/meta; commands to devices/{device}/commands',
      'subscribed: shellies/+/status/+ (QoS 1), shellies/+/online (QoS 1), devices/+/telemetry (QoS 1), devices/+/status (QoS 1), devices/+/meta (QoS 1)',
    ]);
  });

  it('has a right for all that is subscribed, answers of every instance included, and for commands', () => {
    expect(mosquittoAcl(brokerRights(layouts, 'sluice'), 'live')).toEqual([
      'user live',
      'topic read shellies/+/status/+',
      'topic read shellies/+/online',
      'topic read devices/+/telemetry',
      'topic read devices/+/status',
      'topic read devices/+/meta',
      'topic read sluice/+/rpc',
      'topic read devices/+/replies',
      'topic read sluice/replies',
      'topic read sluice/ingest/#',
      'topic write shellies/+/rpc',
      'topic write devices/+/commands',
      'topic write sluice/ingest/#',
    ]);
  });

  it('writes the same rights for EMQX', () => {
    expect(emqxAcl({ read: ['a/+'], write: ['b/"'] }, 'live')).toEqual([
      '{allow, {user, "live"}, subscribe, ["a/+"]}.',
      '{allow, {user, "live"}, publish, ["b/\\""]}.',
    ]);
  });
});
