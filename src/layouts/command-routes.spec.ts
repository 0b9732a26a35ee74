import type { EdgeNodes } from '../rooms/edge-nodes.js';
import type { OutgoingCommand } from '../mqtt/command-routes.js';
import { LayoutCommandRoutes } from './command-routes.js';
import { compileLayouts } from './compile/compile.js';
import { parseLayoutFile } from './compile/layout-file.js';

const FILE = `
version: 1
layouts:
  nested:
    device: "z2m.{name}"
    telemetry: [ { topic: "zigbee2mqtt/{name...}" } ]
    command: { topic: "zigbee2mqtt/{name...}/set" }
  tasmota:
    device: "tasmota.{dev}"
    telemetry: [ { topic: "tele/{dev}/{part}" } ]
    command: { topic: "cmnd/{dev}/{/cmd}", allow: { /cmd: any }, payload: { text: /value } }
  answering:
    device: "tb.{dev}"
    telemetry: [ { topic: "v1/{dev}/telemetry" } ]
    command:
      topic: v1/rpc
      payload: { json: { device: "{dev}", data: { id: "{seq}" } } }
      reply: { topic: v1/rpc, match: /id }
`;

describe(LayoutCommandRoutes.name, () => {
  const nodes: Pick<EdgeNodes, 'read'> = { read: () => Promise.resolve(null) };
  const routes = new LayoutCommandRoutes(compileLayouts(parseLayoutFile(FILE), { ingest: 'leased' }), nodes);
  const command = (deviceId: string, json: string) => routes.resolve(deviceId, json) as OutgoingCommand;

  // The broker counts Sluice's own subscription as a subscriber: command_sent said "delivered":true of devices that do not exist.
  it('says that the broker cannot tell who took it where Sluice reads the topic of the command itself', () => {
    expect(command('z2m.lamp', '{}')).toMatchObject({ topic: 'zigbee2mqtt/lamp/set', isHeardHere: true });
    expect(command('tb.a', '{}')).toMatchObject({ topic: 'v1/rpc', isHeardHere: true });
    expect(command('tasmota.a', '{"cmd":"Power","value":"ON"}')).toMatchObject({
      topic: 'cmnd/a/Power',
      isHeardHere: false,
    });
  });

  it('forbids what no layout makes an id of', () => {
    expect(() => command('other', '{}')).toThrow('Forbidden');
  });
});
