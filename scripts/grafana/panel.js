export const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };

/** A panel: title, unit, [query, legend] pairs, and what differs from a time series. */
export const graph = (title, unit, queries, extra = {}) => ({
  title,
  unit,
  queries,
  type: 'timeseries',
  ...extra,
});

/** A panel of words. */
export const text = (title, lines) => ({ title, type: 'text', content: lines.join('\n'), queries: [] });

/** @returns {object} a panel of the dashboard, drawn at `gridPos` from what {@link graph} says */
export function panel({ title, unit, queries, type, red, max: top, content }, id, gridPos) {
  if (type === 'text') {
    return { id, type, title, gridPos, options: { mode: 'markdown', content } };
  }
  const steps = [
    { color: 'green', value: null },
    ...(red === undefined ? [] : [{ color: 'red', value: red }]),
  ];
  const options = {
    timeseries: {
      legend: { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] },
      tooltip: { mode: 'multi', sort: 'desc' },
    },
    stat: { reduceOptions: { calcs: ['lastNotNull'] }, colorMode: 'value', graphMode: 'area' },
    heatmap: { calculate: false, yAxis: { unit: 's' }, color: { mode: 'scheme', scheme: 'Turbo' } },
  };
  return {
    id,
    type,
    title,
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: {
      defaults: {
        unit,
        min: 0,
        ...(top === undefined ? {} : { max: top }),
        thresholds: { mode: 'absolute', steps },
      },
      overrides: [],
    },
    options: options[type],
    targets: queries.map(([expr, legendFormat], index) => ({
      refId: String.fromCharCode(65 + index),
      datasource: DATASOURCE,
      expr,
      legendFormat,
      ...(type === 'heatmap' ? { format: 'heatmap' } : {}),
    })),
  };
}
