import { contain } from '../logging/walls.js';
import { TLSSocket } from 'node:tls';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';

/** Larger chunks go through the stream, which judges by its high-water mark (16 KiB with Node.js 20); its cost is nothing beside theirs. */
export const DIRECT_MAX_BYTES = 16 * 1024;

/** Node's own handle of a TCP connection, as far as it is used here. */
export interface TcpHandle {
  /** @returns 0, or a negative error number; undefined where the handle is gone */
  writeBuffer(request: WriteRequest, chunk: Buffer): number | undefined;
}

/** What Node's stream knows of what it has to write; its getters take two steps more, which every delivery would pay. */
export interface StreamState {
  /** Bytes that it has not handed on. */
  readonly length: number;
  readonly corked: number;
}

/** Who is told about a write that the system did not take at once. */
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

/** What became of a direct write. Anything below is a negative error number. */
export const WRITTEN = 0;
export const UNDER_WAY = 1;
const HANDLE_IS_GONE = -constants.errno.EBADF;

/** Releases of Node.js that this was tried with: of a later one nobody knows whether the same names still mean the same. */
const TRIED_MAJORS = { first: 20, last: 26 };

/** What is asked of `process`. */
interface NodeProcess {
  versions: { node: string };
  binding?: (name: string) => Partial<StreamBinding>;
}

const binding = findStreamBinding(process);
let spare: WriteRequest | null = binding === null ? null : new binding.WriteWrap();

/** Whether this Node.js shows what is beneath its streams; where it does not, {@link handleOf} finds nothing. */
export const canWriteDirectly = binding !== null;

/** The handle to write to, or null where only the stream will do: with TLS, or where {@link canWriteDirectly} is false. */
export function handleOf(socket: Socket): TcpHandle | null {
  const { _handle: handle } = socket as Socket & { _handle?: Partial<TcpHandle> | null };
  const isUsable = binding !== null && typeof handle?.writeBuffer === 'function';
  return isUsable && !(socket instanceof TLSSocket) ? (handle as TcpHandle) : null;
}

/** The state of a socket's stream, or null where Node.js keeps it otherwise. */
export function streamStateOf(socket: Socket): StreamState | null {
  const { _writableState: state } = socket as Socket & { _writableState?: Partial<StreamState> };
  return typeof state?.length === 'number' && typeof state.corked === 'number'
    ? (state as StreamState)
    : null;
}

/** Whether a stream has nothing to write, and does not collect either. */
export function isIdle({ length, corked }: StreamState): boolean {
  return length === 0 && corked === 0;
}

/**
 * Hands a chunk to the system without Node's stream in between. The caller makes sure that the stream has nothing to write, and
 * that no direct write of the connection is under way.
 *
 * @param chunk at most {@link DIRECT_MAX_BYTES}; not to be changed before it is written
 * @param owner told when a write that was under way has ended
 * @returns {@link WRITTEN}, {@link UNDER_WAY}, or a negative error number, after which the connection is of no more use
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
    return WRITTEN; // the request was not needed, and serves the next write
  }
  spare = null;
  request.buffer = chunk;
  request.owner = owner;
  request.oncomplete = onComplete;
  return UNDER_WAY;
}

/** The error that Node's stream would have met, for `destroy`. */
export function writeError(status: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(status);
  return Object.assign(new Error(`write ${code}`), { code, errno: status, syscall: 'write' });
}

/** Says at start that the setting `WS_WRITES` has no effect, so that nobody has to find out from the CPU. */
export function warnOfStreams(
  writes: 'direct' | 'stream',
  isPossible: boolean,
  logger: { warn(text: string): void },
): void {
  if (writes === 'direct' && !isPossible) {
    logger.warn(
      `WS_WRITES=direct is not possible with this Node.js (${process.version}); frames go through its streams, at more CPU a delivery`,
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

/** @returns null where Node.js keeps it closed (its permission model does), or is one that this was not tried with */
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
