import { type IncomingMessage, request as requestClear } from 'node:http';
import { request as requestTls } from 'node:https';

/** A JWKS of 64 keys with certificate chains is smaller; a server cannot fill the memory. */
const MAX_BYTES = 512 * 1024;

/**
 * One GET of a JWKS. Redirects are not followed: the address in the settings is the one that is trusted. By node:https, since fetch()
 * has no option for the check of the certificate, and NODE_TLS_REJECT_UNAUTHORIZED would turn it off.
 * @returns the parsed JSON
 * @throws Error whose message says in a few words why not, without the address
 */
export async function fetchJwks(url: string, signal: AbortSignal): Promise<unknown> {
  try {
    const response = await get(new URL(url), signal);
    if (response.statusCode !== 200) {
      response.destroy();
      throw new Error(`HTTP ${response.statusCode}`);
    }
    return JSON.parse(await boundedText(response));
  } catch (error) {
    throw new Error(reasonOf(error, signal), { cause: error });
  }
}

function get(url: URL, signal: AbortSignal): Promise<IncomingMessage> {
  const headers = { accept: 'application/json, application/jwk-set+json' };
  const request = url.protocol === 'https:' ? requestTls : requestClear;
  return new Promise((resolve, reject) => {
    request(url, { headers, signal, rejectUnauthorized: true })
      .once('response', resolve)
      // Also after the answer has begun, when the body's error says the same.
      .on('error', reject)
      .end();
  });
}

async function boundedText(response: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // Leaving the loop by an error ends the connection, and with it the rest of the body.
  for await (const chunk of response as AsyncIterable<Uint8Array>) {
    bytes += chunk.byteLength;
    if (bytes > MAX_BYTES) {
      throw new Error(`more than ${MAX_BYTES} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function reasonOf(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) {
    return signal.reason instanceof Error ? signal.reason.message : 'aborted';
  }
  if (error instanceof SyntaxError) {
    return 'the answer is not JSON';
  }
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
}
