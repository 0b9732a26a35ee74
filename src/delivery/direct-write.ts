import { contain } from '../logging/walls.js';
import { TLSSocket } from 'node:tls';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';

/** Larger chunks go through the stream, which compares with its high-water mark (16 KiB in Node.js 20); its cost is small beside theirs. */
export const DIRECT_MAX_BYTES = 16 * 1024;

/** The part of Node's TCP handle that is used here. */
export interface TcpHandle {
  /** @returns 0, or a negative error number; undefined where the handle is gone */
  writeBuffer(request: WriteRequest, chunk: Buffer): number | undefined;
}

/** Node's internal writable state. Its public getters take two more steps, which every delivery would pay. */
export interface StreamState {
  /** Bytes that the stream has not passed on. */
  readonly length: number;
  readonly corked: number;
}

/** Is told when a write completes that the kernel did not accept at once. */
export interface DirectWriteOwner {
  /** @param status 0, or a negative error number */
  onWritten(status: number): void;
}

/** What Node ties to a write in progress. */
interface WriteRequest {
  buffer?: Buffer;
  owner?: DirectWriteOwner;
  oncomplete?: (this: WriteRequest, status: number) => void;
}

/** The part of Node beneath `net.Socket`. Not public: see docs/decisions/011. */
interface StreamBinding {
  WriteWrap: new () => WriteRequest;
  streamBaseState: ArrayLike<number>;
  kLastWriteWasAsync: number;
}

/** Result of a direct write; negative values are error numbers. */
export const WRITTEN = 0;
export const UNDER_WAY = 1;
const HANDLE_IS_GONE = -constants.errno.EBADF;

/** Releases of Node.js this was tested with: in a later one the same names may mean something else. */
const TRIED_MAJORS = { first: 20, last: 26 };

/** The part of `process` used here. */
interface NodeProcess {
  versions: { node: string };
  binding?: (name: string) => Partial<StreamBinding>;
}

const binding = findStreamBinding(process);
let spare: WriteRequest | null = binding === null ? null : new binding.WriteWrap();

/** Whether this Node.js exposes its stream binding; if not, {@link handleOf} returns null. */
export const canWriteDirectly = binding !== null;

/** The handle to write to, or null if only the stream can be used: with TLS, or when {@link canWriteDirectly} is false. */
export function handleOf(socket: Socket): TcpHandle | null {
  const { _handle: handle } = socket as Socket & { _handle?: Partial<TcpHandle> | null };
  const isUsable = binding !== null && typeof handle?.writeBuffer === 'function';
  return isUsable && !(socket instanceof TLSSocket) ? (handle as TcpHandle) : null;
}

/** The internal state of a socket's stream, or null if this Node.js keeps it elsewhere. */
export function streamStateOf(socket: Socket): StreamState | null {
  const { _writableState: state } = socket as Socket & { _writableState?: Partial<StreamState> };
  return typeof state?.length === 'number' && typeof state.corked === 'number'
    ? (state as StreamState)
    : null;
}

/** Whether a stream has nothing to write and is not corked. */
export function isIdle({ length, corked }: StreamState): boolean {
  return length === 0 && corked === 0;
}

/**
 * Writes a chunk to the kernel, past Node's stream. The caller makes sure that the stream has nothing to write and that no direct write of
 * the connection is pending.
 *
 * @param chunk at most {@link DIRECT_MAX_BYTES}; must not change until it is written
 * @param owner told when a pending write has ended
 * @returns {@link WRITTEN}, {@link UNDER_WAY}, or a negative error number, after which the connection is unusable
 */
export function directWrite(handle: TcpHandle, chunk: Buffer, owner: DirectWriteOwner): number {
  const { WriteWrap, streamBaseState, kLastWriteWasAsync } = binding as StreamBinding;
  const request = (spare ??= new WriteWrap());
  const status = handle.writeBuffer(request, chunk);
  if (status !== 0) {
    spare = null;
    return status ?? HANDLE_IS_GONE;
  }
  if (streamBaseState[kLastWriteWasAsync] === 0) {
    return WRITTEN; // the request was not used: the next write takes it
  }
  spare = null;
  request.buffer = chunk;
  request.owner = owner;
  request.oncomplete = onComplete;
  return UNDER_WAY;
}

/** The error that Node's stream would have emitted, for `destroy`. */
export function writeError(status: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(status);
  return Object.assign(new Error(`write ${code}`), { code, errno: status, syscall: 'write' });
}

/** Warns at start when the setting `WS_WRITES` has no effect. */
export function warnOfStreams(
  writes: 'direct' | 'stream',
  isPossible: boolean,
  logger: { warn(text: string, facts: object): void },
): void {
  if (writes === 'direct' && !isPossible) {
    logger.warn(
      `WS_WRITES=direct is not possible with this Node.js (${process.version}); frames go through its streams, at more CPU a delivery`,
      { node: process.version },
    );
  }
}

function onComplete(this: WriteRequest, status: number): void {
  try {
    this.owner?.onWritten(status);
  } catch (error) {
    contain('connection', error);
  }
}

/** @returns null if Node.js does not expose it (its permission model) or is a release this was not tested with */
export function findStreamBinding(node: NodeProcess): StreamBinding | null {
  const major = Number.parseInt(node.versions.node, 10);
  if (major < TRIED_MAJORS.first || major > TRIED_MAJORS.last) {
    return null;
  }
  try {
    const found = node.binding?.('stream_wrap');
    const isComplete =
      typeof found?.WriteWrap === 'function' &&
      typeof found.kLastWriteWasAsync === 'number' &&
      typeof found.streamBaseState?.[found.kLastWriteWasAsync] === 'number';
    return isComplete ? (found as StreamBinding) : null;
  } catch {
    return null;
  }
}
