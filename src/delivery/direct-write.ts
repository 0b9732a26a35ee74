import { TLSSocket } from 'node:tls';
import type { Socket } from 'node:net';
import { getSystemErrorName } from 'node:util';

/** Larger chunks go through the stream, whose high-water mark they would pass; its cost is nothing beside theirs. */
export const DIRECT_MAX_BYTES = 16 * 1024;

/** Node's own handle of a TCP connection, as far as it is used here. */
export interface TcpHandle {
  /** @returns 0, or a negative error number; undefined where the handle is gone */
  writeBuffer(request: WriteRequest, chunk: Buffer): number | undefined;
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

const binding = streamBinding();
let spare: WriteRequest | null = binding === null ? null : new binding.WriteWrap();

/**
 * The handle to write to, or null where only the stream will do: a socket that is not plain TCP, or a Node.js that does not show what
 * is beneath its streams.
 */
export function handleOf(socket: Socket): TcpHandle | null {
  const { _handle: handle } = socket as Socket & { _handle?: Partial<TcpHandle> | null };
  const isUsable = binding !== null && typeof handle?.writeBuffer === 'function';
  return isUsable && !(socket instanceof TLSSocket) ? (handle as TcpHandle) : null;
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
    return status ?? -1;
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

function onComplete(this: WriteRequest, status: number): void {
  this.owner?.onWritten(status);
}

function streamBinding(): StreamBinding | null {
  const { binding: open } = process as NodeJS.Process & {
    binding?: (name: string) => Partial<StreamBinding>;
  };
  try {
    const found = open?.('stream_wrap');
    const isComplete =
      typeof found?.WriteWrap === 'function' &&
      typeof found.kLastWriteWasAsync === 'number' &&
      typeof found.streamBaseState?.[found.kLastWriteWasAsync] === 'number';
    return isComplete ? (found as StreamBinding) : null;
  } catch {
    return null; // Node's permission model keeps it closed
  }
}
