/** A JWKS of 64 keys with certificate chains is smaller; a server cannot fill the memory. */
const MAX_BYTES = 512 * 1024;

/**
 * One GET of a JWKS. Redirects are not followed: the address in the settings is the one that is trusted.
 * @returns the parsed JSON
 * @throws Error whose message says in a few words why not, without the address
 */
export async function fetchJwks(url: string, signal: AbortSignal): Promise<unknown> {
  try {
    const response = await fetch(url, {
      headers: { accept: 'application/json, application/jwk-set+json' },
      redirect: 'manual',
      signal,
    });
    if (response.status !== 200) {
      await response.body?.cancel();
      throw new Error(`HTTP ${response.status}`);
    }
    return JSON.parse(await boundedText(response));
  } catch (error) {
    throw new Error(reasonOf(error, signal), { cause: error });
  }
}

async function boundedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // Leaving the loop by an error cancels the rest of the body.
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
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
  // fetch() says only "fetch failed"; the reason is the cause's code, such as ECONNREFUSED.
  const cause = (error as { cause?: { code?: unknown } }).cause;
  return typeof cause?.code === 'string' ? cause.code : (error as Error).message;
}
