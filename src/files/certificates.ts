import { X509Certificate } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { Metrics } from '../metrics/metrics.js';
import { SecretFiles } from './secret-files.js';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * Says when the certificates of the settings expire, as they are at each scrape: from the variable, or from the file as it is now. Of several
 * in one setting the first to expire counts.
 */
@Injectable()
export class CertificateExpiry {
  constructor(@Inject(CONFIG) { mqtt, redis, files }: Config, metrics: Metrics) {
    const atStart: Record<string, string | undefined> = {
      MQTT_CA: mqtt.ca,
      MQTT_CERT: mqtt.cert,
      REDIS_CA: redis.ca,
      REDIS_CERT: redis.cert,
    };
    const secrets = new SecretFiles(files);
    const parsed = new Map<string, { pem: string; expiresS: number | undefined }>();
    const gauge = metrics.certificateExpires;
    const collect = (): void => {
      for (const [certificate, value] of Object.entries(atStart)) {
        const pem = secrets.current(certificate, value);
        if (pem === undefined) {
          continue;
        }
        const known = parsed.get(certificate);
        const expiresS = known?.pem === pem ? known.expiresS : firstExpiryS(pem);
        parsed.set(certificate, { pem, expiresS });
        if (expiresS === undefined) {
          gauge.remove({ certificate });
        } else {
          gauge.set({ certificate }, expiresS);
        }
      }
    };
    Object.assign(gauge, { collect });
  }
}

/** @returns Unix seconds; undefined for what is no certificate */
function firstExpiryS(pem: string): number | undefined {
  try {
    const ends = (pem.match(CERTIFICATE) ?? []).map((text) => Date.parse(new X509Certificate(text).validTo));
    return ends.length === 0 ? undefined : Math.floor(Math.min(...ends) / 1000);
  } catch {
    return undefined;
  }
}
