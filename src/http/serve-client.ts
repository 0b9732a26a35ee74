import type { NestExpressApplication } from '@nestjs/platform-express';
import type { ServerResponse } from 'node:http';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Made by the build from client/. */
const DIRECTORY = fileURLToPath(new URL('../client-library', import.meta.url));

/** Serves the client library as `/client.js` (the global `Sluice`) and `/client.mjs`, also to pages of other origins. */
export function serveClient(app: NestExpressApplication): void {
  app.useStaticAssets(DIRECTORY, { index: false, redirect: false, setHeaders });
}

function setHeaders(response: ServerResponse, path: string): void {
  response.setHeader('Cache-Control', 'no-cache');
  response.setHeader('Access-Control-Allow-Origin', '*');
  response.setHeader('Cross-Origin-Resource-Policy', 'cross-origin');
  response.setHeader('X-Content-Type-Options', 'nosniff');
  if (!path.endsWith('.map')) {
    response.setHeader('SourceMap', `${basename(path)}.map`);
  }
}
