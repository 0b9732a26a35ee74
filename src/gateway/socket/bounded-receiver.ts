import type { Writable } from 'node:stream';
import { walled } from '../../logging/walls.js';

/** What of ws's frame parser is touched here and in SparingWebSocket. */
export interface WsReceiver extends Writable {
  _allowSynchronousEvents: boolean;
  _binaryType: string;
  _isServer: boolean;
  _maxBufferedChunks: number;
  _maxFragments: number;
  _maxPayload: number;
  _skipUTF8Validation: boolean;
  /** Bytes of a frame that is not whole yet, as they came. */
  _buffers: Buffer[];
  _bufferedBytes: number;
  /** Whether the frame at hand ends its message. */
  _fin: boolean;
  _fragmented: number;
  _state: number;
  /** Called once for each whole data frame, parts of messages included. */
  dataMessage(done: Done): void;
  [key: symbol]: unknown;
}

/** What a parser asks of its connection, and tells it. */
export interface FrameOwner {
  /** Whether bytes that came are still parsed. */
  takes(bytes: number): boolean;
  /** A part of a message that is not its end; ws tells of whole messages only. */
  onFragment(): void;
}

export interface BoundedReceiver extends WsReceiver {
  frameOwner: FrameOwner | null;
}

type Done = (error?: Error | null) => void;
export type WsReceiverClass = new (options: object) => WsReceiver;
export type BoundedReceiverClass = new (options: object) => BoundedReceiver;

/** Bytes of one connection that are parsed in one turn of the event loop: some 2 700 of the smallest frames. */
export const BYTES_PER_TURN = 16 * 1024;
/** Pieces in which a frame that is not whole yet is kept; a piece of one byte takes some 300. */
const MAX_PIECES = 64;

/**
 * ws's parser with bounds on its work: some KiB a turn, so that one connection's flood leaves the core to others (ws stops reading from the
 * socket meanwhile, as it does for any stream that does not keep up); nothing once its connection is deaf; and parts of messages are told.
 */
export function boundedReceiver(Receiver: WsReceiverClass): BoundedReceiverClass {
  return class extends Receiver implements BoundedReceiver {
    frameOwner: FrameOwner | null = null;

    override _write(chunk: Buffer, encoding: BufferEncoding, done: Done): void {
      if (this.frameOwner?.takes(Math.min(chunk.length, BYTES_PER_TURN)) === false) {
        done();
        return;
      }
      if (this._buffers.length >= MAX_PIECES) {
        this._buffers = [Buffer.concat(this._buffers)];
      }
      if (chunk.length <= BYTES_PER_TURN) {
        super._write(chunk, encoding, done);
        return;
      }
      super._write(chunk.subarray(0, BYTES_PER_TURN), encoding, (error) => {
        if (error instanceof Error) {
          done(error);
        } else {
          const goOn = (): void => this._write(chunk.subarray(BYTES_PER_TURN), encoding, done);
          setImmediate(walled('connection', goOn, () => done(new Error('A frame could not be parsed'))));
        }
      });
    }

    override dataMessage(done: Done): void {
      if (!this._fin) {
        this.frameOwner?.onFragment();
      }
      super.dataMessage(done);
    }
  };
}
