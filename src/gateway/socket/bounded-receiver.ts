import type { Writable } from 'node:stream';
import { walled } from '../../logging/walls.js';

/** The part of ws's frame parser used here and in SparingWebSocket. */
export interface WsReceiver extends Writable {
  _allowSynchronousEvents: boolean;
  _binaryType: string;
  _isServer: boolean;
  _maxBufferedChunks: number;
  _maxFragments: number;
  _maxPayload: number;
  _skipUTF8Validation: boolean;
  /** Bytes of an incomplete frame, in the pieces in which they came. */
  _buffers: Buffer[];
  _bufferedBytes: number;
  /** Whether the current frame ends its message. */
  _fin: boolean;
  _fragmented: number;
  _state: number;
  /** Called for each complete data frame, fragments included. */
  dataMessage(done: Done): void;
  [key: symbol]: unknown;
}

/** What a parser asks of its connection and reports to it. */
export interface FrameOwner {
  /** Whether received bytes are still parsed. */
  takes(bytes: number): boolean;
  /** A fragment that does not end its message; ws reports whole messages only. */
  onFragment(): void;
}

export interface BoundedReceiver extends WsReceiver {
  frameOwner: FrameOwner | null;
}

type Done = (error?: Error | null) => void;
export type WsReceiverClass = new (options: object) => WsReceiver;
export type BoundedReceiverClass = new (options: object) => BoundedReceiver;

/** Bytes of one connection parsed per turn of the event loop: some 2 700 of the smallest frames. */
export const BYTES_PER_TURN = 16 * 1024;
/** Most pieces of an incomplete frame; a piece of one byte takes some 300 bytes. */
const MAX_PIECES = 64;

/**
 * ws's parser with bounds on its work: some KiB per turn, so that one connection's flood leaves CPU time to others (ws stops reading from
 * the socket meanwhile, through normal stream backpressure); nothing once its connection is closing; and fragments are reported.
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
