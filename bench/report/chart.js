import { formatMetric, metrics } from './metrics.js';

const WIDTH = 860;
const LABEL_WIDTH = 270;
const VALUE_WIDTH = 90;
const BAR_HEIGHT = 20;
const ROW_HEIGHT = 30;
const TOP = 52;
const BOTTOM = 12;

const escapeXml = (text) => text.replace(/[<>&"]/g, (character) => `&#${character.charCodeAt(0)};`);

/**
 * Horizontal bars, one per row, Sluice's in a colour of their own. Readable on light and dark pages.
 *
 * @param {{title: string, metric: string, rows: {label: string, value: number, isSluice: boolean}[]}} chart
 * @returns {string} SVG
 */
export function renderChart({ title, metric, rows }) {
  const drawn = rows.filter(({ value }) => Number.isFinite(value) && value >= 0);
  const longest = Math.max(...drawn.map(({ value }) => value), Number.MIN_VALUE);
  const space = WIDTH - LABEL_WIDTH - VALUE_WIDTH;
  const height = TOP + drawn.length * ROW_HEIGHT + BOTTOM;
  const { heading, lowerIsBetter } = metrics[metric];
  const subtitle = `${heading}, ${lowerIsBetter ? 'less' : 'more'} is better`;
  const bars = drawn.map((row, index) => {
    const y = TOP + index * ROW_HEIGHT;
    const width = Math.max(1, (row.value / longest) * space).toFixed(1);
    const middle = y + BAR_HEIGHT / 2 + 4;
    return [
      `  <text x="${LABEL_WIDTH - 10}" y="${middle}" text-anchor="end">${escapeXml(plain(row.label))}</text>`,
      `  <rect x="${LABEL_WIDTH}" y="${y}" width="${width}" height="${BAR_HEIGHT}" class="${row.isSluice ? 'sluice' : 'peer'}"/>`,
      `  <text x="${(LABEL_WIDTH + Number(width) + 8).toFixed(1)}" y="${middle}">${formatMetric(metric, row.value)}</text>`,
    ].join('\n');
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img">
  <style>
    svg { background: #fff; font: 13px system-ui, sans-serif; }
    text { fill: #1b2733; } .title { font-weight: 600; font-size: 15px; } .subtitle { fill: #5b6b7b; }
    .peer { fill: #a9b8c6; } .sluice { fill: #0b7fab; }
    @media (prefers-color-scheme: dark) {
      svg { background: #10171e; } text { fill: #e4ebf1; } .subtitle { fill: #93a4b3; } .peer { fill: #4a5b6a; } .sluice { fill: #3fb1db; }
    }
  </style>
  <text x="12" y="20" class="title">${escapeXml(title)}</text>
  <text x="12" y="38" class="subtitle">${escapeXml(subtitle)}</text>
${bars.join('\n')}
</svg>
`;
}

function plain(label) {
  return label.replaceAll('`', '');
}
