/**
 * Knows a broker by the fingerprint in the invitation, not by authorities, names and dates: a board has no public name, and after a
 * power cut it may think that it is 1970.
 */
import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { sha256 } from '../ledger/hash.js';

const CHAIN_MAX = 8;

/**
 * Whether a chain of certificates (DER, the broker's own first) stands on the one with this SHA-256: it is the broker's own, or that
 * of the authority that signed it.
 * @param pin 64 hex digits
 */
export function isPinned(chain: readonly Uint8Array[], pin: string): boolean {
  const [leaf, ...others] = chain;
  if (leaf === undefined) return false;
  if (sha256(leaf) === pin) return true;
  try {
    const own = new X509Certificate(leaf);
    return others.some((der) => {
      if (sha256(der) !== pin) return false;
      const authority = new X509Certificate(der);
      return authority.ca && own.checkIssued(authority) && own.verify(authority.publicKey);
    });
  } catch {
    return false;
  }
}

/** What the other side of a connection showed, its own first. That it has the key of that, the handshake has proved. */
export function shownChain(socket: TLSSocket): readonly Uint8Array[] {
  const chain: Uint8Array[] = [];
  let certificate = socket.getPeerCertificate(true);
  while (certificate?.raw !== undefined && chain.length < CHAIN_MAX) {
    chain.push(certificate.raw);
    if (certificate.issuerCertificate === certificate) break;
    certificate = certificate.issuerCertificate;
  }
  return chain;
}
