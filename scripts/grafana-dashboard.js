#!/usr/bin/env node
/**
 * Writes helm/sluice/files/dashboard.json, the Grafana dashboard, from the rows and panels in grafana/rows.js: a thousand lines of
 * JSON are not edited by hand. A test compares the file, its types, and every query with what /metrics exports.
 *
 * Usage: node scripts/grafana-dashboard.js
 */
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { format } from 'prettier';
import { DATASOURCE, panel } from './grafana/panel.js';
import { rows } from './grafana/rows.js';

const COLUMNS = 24;
const HEIGHT = 8;

/** Rows from top to bottom, panels from left to right as wide as they say (a third of the page otherwise). */
function layout() {
  const panels = [];
  let y = 0;
  for (const [title, members] of Object.entries(rows)) {
    panels.push({
      id: panels.length + 1,
      type: 'row',
      title,
      collapsed: false,
      gridPos: { x: 0, y, w: COLUMNS, h: 1 },
      panels: [],
    });
    y += 1;
    let x = 0;
    const height = members[0].type === 'stat' ? 4 : HEIGHT;
    for (const member of members) {
      const w = member.width ?? 8;
      if (x + w > COLUMNS) {
        x = 0;
        y += height;
      }
      panels.push(panel(member, panels.length + 1, { x, y, w, h: height }));
      x += w;
    }
    y += height;
  }
  return panels;
}

const variable = (name, label, query, extra = {}) => ({
  name,
  label,
  type: 'query',
  datasource: DATASOURCE,
  query: { query, refId: name },
  refresh: 2,
  sort: 1,
  ...extra,
});

/** @returns {object} the dashboard as Grafana imports it */
export function dashboard() {
  return {
    uid: 'sluice',
    title: 'Sluice',
    description: 'The control layer between an MQTT broker and live dashboards',
    tags: ['sluice', 'mqtt', 'websocket'],
    schemaVersion: 41,
    version: 1,
    editable: true,
    graphTooltip: 1,
    time: { from: 'now-3h', to: 'now' },
    refresh: '30s',
    timezone: 'browser',
    templating: {
      list: [
        { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus' },
        variable('job', 'Job', 'label_values(sluice_connections_open, job)'),
        variable('namespace', 'Namespace', 'label_values(sluice_connections_open{job="$job"}, namespace)', {
          includeAll: true,
          multi: true,
          allValue: '.*',
          current: { text: ['All'], value: ['$__all'] },
        }),
      ],
    },
    annotations: { list: [] },
    links: [],
    panels: layout(),
  };
}

/** @returns {Promise<string>} text of helm/sluice/files/dashboard.json */
export function dashboardText() {
  return format(JSON.stringify(dashboard()), { parser: 'json', printWidth: 110 });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await writeFile(new URL('../helm/sluice/files/dashboard.json', import.meta.url), await dashboardText());
}
