import type { NestExpressApplication } from '@nestjs/platform-express';
import type { ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';

const PUBLIC_DIRECTORY = fileURLToPath(new URL('./public', import.meta.url));

/** Only our own files and our own WebSocket; no inline code, no frames, no text parsed as markup. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ');

/** Serves the dashboard page at `/`: static files with ETag, revalidated at every load so that a new release is shown at once. */
export function serveDashboard(app: NestExpressApplication): void {
  app.useStaticAssets(PUBLIC_DIRECTORY, { index: 'index.html', redirect: false, setHeaders });
}

function setHeaders(response: ServerResponse): void {
  response.setHeader('Cache-Control', 'no-cache');
  response.setHeader('Content-Security-Policy', CONTENT_SECURITY_POLICY);
  response.setHeader('X-Content-Type-Options', 'nosniff');
  response.setHeader('Referrer-Policy', 'no-referrer');
  response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
  response.setHeader('Cross-Origin-Resource-Policy', 'same-origin');
}
