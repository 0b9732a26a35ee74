const WIDTH = 120;
const HEIGHT = 40;
const MARGIN = 3;

/** Draws numbers into the two paths of a sparkline; a line needs two points. */
export function drawSparkline({ line, area }, samples) {
  if (samples === undefined || samples.length < 2) {
    line.setAttribute('d', '');
    area.setAttribute('d', '');
    return;
  }
  const min = Math.min(...samples);
  const max = Math.max(...samples);
  const range = max - min;
  const step = WIDTH / (samples.length - 1);
  let path = '';
  for (let index = 0; index < samples.length; index++) {
    // A flat line lies in the middle.
    const share = range === 0 ? 0.5 : (samples[index] - min) / range;
    const y = HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN);
    path += `${index === 0 ? 'M' : 'L'}${(index * step).toFixed(1)} ${y.toFixed(1)}`;
  }
  line.setAttribute('d', path);
  area.setAttribute('d', `${path}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z`);
}
