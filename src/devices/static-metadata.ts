import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { readMetadataFile } from '../config/metadata-file.js';
import type { MetaBytes } from '../rooms/publication.js';

/** Metadata of METADATA_FILE, for devices that publish none. */
@Injectable()
export class StaticMetadata {
  private readonly devices: ReadonlyMap<string, Buffer>;

  constructor(@Inject(CONFIG) config: Config) {
    const { file } = config.metadata;
    this.devices = file === undefined ? new Map() : readMetadataFile(file);
  }

  get(deviceId: string): MetaBytes {
    return this.devices.get(deviceId) ?? null;
  }

  entries(): Iterable<[string, Buffer]> {
    return this.devices.entries();
  }
}
