import type { Publication } from './publication.js';
import type { TelemetryFrames } from './telemetry-frame.js';

/** Where subscriptions of one room with equal options get their publications from: made once, shared by all of them. */
export interface Feed {
  /** The newest publication as this feed sends it; what waiting subscriptions in mode `latest` read. */
  readonly frames: TelemetryFrames | null;
  /** A publication as this feed would send it on its own (snapshot, resume), or null when none of its fields is asked for. */
  shape(publication: Publication): Publication | null;
}
