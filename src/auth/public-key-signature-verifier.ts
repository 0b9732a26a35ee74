import type { KeyObject } from 'node:crypto';
import { compactVerify } from 'jose';
import { readPublicKey } from '../config/public-key.js';
import { SignatureVerifier, badSignature, parseJson, readHeader } from './signature-verifier.js';

/** RS256, ES256 or EdDSA tokens, as the one configured public key decides. By jose, since jsonwebtoken has no EdDSA. */
export class PublicKeySignatureVerifier extends SignatureVerifier {
  readonly generation = 0;
  private readonly key: KeyObject;
  private readonly algorithms: string[];

  /** @param pem SPKI, checked at start. @throws Error with advice when it cannot verify tokens */
  constructor(pem: string) {
    super();
    const { key, algorithm } = readPublicKey(pem);
    this.key = key;
    this.algorithms = [algorithm];
  }

  override async claims(token: string): Promise<unknown> {
    readHeader(token, this.algorithms);
    const verified = await compactVerify(token, this.key, { algorithms: this.algorithms }).catch(() => {
      throw badSignature();
    });
    return parseJson(verified.payload);
  }
}
