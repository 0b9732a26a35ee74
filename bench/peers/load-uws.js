import { createRequire } from 'node:module';

/** Packages with uWebSockets.js binaries, newest first; which one loads depends on Node.js and the C library. */
const PACKAGES = ['@btc-vision/uwebsockets.js', '@trufflesuite/uws-js-unofficial'];

const require = createRequire(import.meta.url);

/**
 * @returns {{uWS: any, name: string}}
 * @throws when no binary runs here
 */
export function loadUws() {
  const reasons = [];
  for (const name of PACKAGES) {
    try {
      const uWS = require(name);
      // The second package falls back to an imitation in JavaScript, which is not what is to be measured.
      if (/native code/.test(Function.prototype.toString.call(uWS.App))) {
        return { uWS, name };
      }
      reasons.push(`${name}: no native binary`);
    } catch (error) {
      reasons.push(`${name}: ${error.message.split('\n').filter(Boolean).pop()}`);
    }
  }
  throw new Error(`uWebSockets.js is not available: ${reasons.join('; ')}`);
}
