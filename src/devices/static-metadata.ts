import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { readMetadataFile } from '../config/metadata-file.js';
import { Reloads } from '../files/reloads.js';
import { tellEach } from '../logging/walls.js';
import type { MetaBytes } from '../rooms/broadcast-adapter.js';
import { Transformer } from '../transform/transformer.js';

type Listener = (deviceIds: readonly string[]) => void;

/** Metadata of METADATA_FILE, for devices that publish none. The file is read again at SIGHUP. */
@Injectable()
export class StaticMetadata implements OnModuleDestroy {
  private devices: ReadonlyMap<string, Buffer>;
  private readonly listeners = new Set<Listener>();
  private readonly ends: (() => void)[] = [];

  constructor(@Inject(CONFIG) config: Config, reloads: Reloads, transformer: Transformer) {
    const { file } = config.metadata;
    this.devices = file === undefined ? new Map() : readMetadataFile(file);
    if (file !== undefined) {
      // Other rules may mean other units.
      this.ends.push(transformer.onChange(() => this.tell([...this.devices.keys()])));
      this.ends.push(reloads.add('METADATA_FILE', () => this.take(readMetadataFile(file))));
    }
  }

  onModuleDestroy(): void {
    this.ends.forEach((end) => end());
  }

  get(deviceId: string): MetaBytes {
    return this.devices.get(deviceId) ?? null;
  }

  ids(): Iterable<string> {
    return this.devices.keys();
  }

  /** Called with the devices whose metadata is another one now, or gone. @returns removes the listener */
  onChange(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private take(devices: ReadonlyMap<string, Buffer>): void {
    const before = this.devices;
    this.devices = devices;
    const ids = new Set([...before.keys(), ...devices.keys()]);
    this.tell([...ids].filter((id) => !isSame(before.get(id), devices.get(id))));
  }

  private tell(deviceIds: readonly string[]): void {
    tellEach('device', [...this.listeners], deviceIds);
  }
}

function isSame(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one !== undefined && other !== undefined && one.equals(other);
}
