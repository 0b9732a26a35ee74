#!/usr/bin/env node
/**
 * `node scripts/page-figures.js [devices] [messages/s] [seconds]`: frame times and memory of the dashboard while so many devices speak, and
 * how long it takes to show a fleet; the figures in docs/benchmarks.md. For a calm machine.
 */
/* global document, requestAnimationFrame */
import { connectAsync } from 'mqtt';
import { withShownPage } from './setup/shown-page.js';

const [devices = 2_000, perSecond = 2_000, seconds = 30] = process.argv.slice(2).map(Number);
const TICK_MS = 20;

await withShownPage(
  { DEMO_DEVICES: '0', LOG_LEVEL: 'info', MAX_DEVICES: '20000' },
  async ({ browser, link, brokerUrl }) => {
    const device = await connectAsync(brokerUrl);
    let sent = 0;
    const publish = (index) => {
      const flow = Math.round(500 + 300 * Math.sin(sent / 5_000 + index)) / 10;
      const payload = JSON.stringify({
        flow,
        pressure: Math.round(flow * 3) / 100,
        running: flow > 30,
        count: sent,
      });
      device.publish(`devices/line-${Math.floor(index / 40)}.pump-${index}/telemetry`, payload);
      sent += 1;
    };
    for (let index = 0; index < devices; index += 1) {
      const meta = {
        name: `Pump ${index}`,
        location: `Line ${Math.floor(index / 40)}`,
        units: { flow: 'l/min', pressure: 'bar' },
      };
      device.publish(`devices/line-${Math.floor(index / 40)}.pump-${index}/meta`, JSON.stringify(meta), {
        retain: true,
      });
      publish(index);
      if (index % 200 === 199) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 2_000));

    const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
    const openedAt = performance.now();
    await page.goto(link);
    await page.locator('.tile .number').first().waitFor();
    const firstMs = performance.now() - openedAt;
    await page.waitForFunction(
      (all) => document.querySelector('.count b')?.textContent.replace(/\D/g, '') === String(all),
      devices,
      { timeout: 60_000 },
    );
    const allMs = performance.now() - openedAt;
    console.log(
      `${devices} devices: first tile after ${Math.round(firstMs)} ms, all listed after ${Math.round(allMs)} ms`,
    );

    let next = 0;
    let due = 0;
    const timer = setInterval(() => {
      for (due += (perSecond * TICK_MS) / 1_000; due >= 1; due -= 1) {
        publish(next);
        next = (next + 1) % devices;
      }
    }, TICK_MS);
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    const session = await page.context().newCDPSession(page);
    await session.send('Performance.enable');
    const metrics = async () => {
      const { metrics: list } = await session.send('Performance.getMetrics');
      return Object.fromEntries(list.map(({ name, value }) => [name, value]));
    };
    const before = await metrics();
    const frames = await page.evaluate(
      (ms) =>
        new Promise((resolve) => {
          const times = [];
          let last = performance.now();
          const end = last + ms;
          const step = (now) => {
            times.push(now - last);
            last = now;
            if (now < end) {
              requestAnimationFrame(step);
            } else {
              resolve(times);
            }
          };
          requestAnimationFrame(step);
        }),
      seconds * 1_000,
    );
    const after = await metrics();
    clearInterval(timer);
    frames.sort((a, b) => a - b);
    const at = (share) => frames[Math.floor(share * (frames.length - 1))].toFixed(1);
    console.log(
      `${perSecond} messages/s for ${seconds} s: ${(frames.length / seconds).toFixed(1)} frames/s, p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms; ` +
        `page ${((after.TaskDuration - before.TaskDuration) / seconds).toFixed(2)} cores, heap ${(after.JSHeapUsedSize / 2 ** 20).toFixed(1)} MiB, ${after.Nodes} nodes`,
    );
    await device.endAsync(true);
  },
);
process.exit();
