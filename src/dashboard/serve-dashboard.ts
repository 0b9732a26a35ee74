import { existsSync } from 'node:fs';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { Request, Response } from 'express';
import type { ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import type { Config } from '../config/config.js';

/** Made by the build from page/. Run from the sources, as tests do, it is the page of the last build. */
const DIRECTORY = ['../page', '../../dist/page']
  .map((path) => fileURLToPath(new URL(path, import.meta.url)))
  .find(existsSync);

/** Serves the dashboard page at `/`: static files with ETag, revalidated at every load so that a new release is shown at once. */
export function serveDashboard(app: NestExpressApplication, { dashboardTokenUrl }: Config['http']): void {
  const policy = contentSecurityPolicy(dashboardTokenUrl);
  const setHeaders = (response: ServerResponse): void => {
    response.setHeader('Cache-Control', 'no-cache');
    response.setHeader('Content-Security-Policy', policy);
    response.setHeader('X-Content-Type-Options', 'nosniff');
    response.setHeader('Referrer-Policy', 'no-referrer');
    response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
    response.setHeader('Cross-Origin-Resource-Policy', 'same-origin');
  };
  if (DIRECTORY !== undefined) {
    app.useStaticAssets(DIRECTORY, { index: 'index.html', redirect: false, setHeaders });
  }
  const settings = JSON.stringify({ tokenUrl: dashboardTokenUrl ?? null });
  app.use('/page.json', (_request: Request, response: Response) => {
    setHeaders(response);
    response.type('json').send(settings);
  });
}

/** Only our own files, our own WebSocket and the operator's login; no inline code, no frames, no text parsed as markup. */
function contentSecurityPolicy(tokenUrl: string | undefined): string {
  const [origin] = /^https?:\/\/[^/]+/.exec(tokenUrl ?? '') ?? [];
  const login = origin === undefined ? '' : ` ${origin}`;
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    `connect-src 'self'${login}`,
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ].join('; ');
}
