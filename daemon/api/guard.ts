/** Keeps other web sites, which a person's browser may have open, away from the daemon. */
import type { FastifyRequest } from 'fastify';
import { TownError } from '../ledger/ids.js';

const loopbackNames: readonly string[] = ['localhost', '127.0.0.1', '[::1]'];

/** The name in a Host header, lower case, without port and final dot; null if it is not one. */
export function hostNameOf(host: string | undefined): string | null {
  if (host === undefined || !/^[A-Za-z0-9._:[\]-]{1,255}$/.test(host)) return null;
  try {
    return new URL(`http://${host}`).hostname.replace(/\.$/, '');
  } catch {
    return null;
  }
}

/** The address the connection came in on, as a Host header would write it. */
function localName(request: FastifyRequest): string | null {
  const address = request.socket.localAddress?.replace(/^::ffff:/, '');
  if (!address) return null;
  return address.includes(':') ? `[${address}]` : address;
}

/**
 * A check for every request: its Host header names this daemon. A page of another site whose name was re-pointed at
 * this address (DNS rebinding) still sends that site's name. Allowed are the loopback names, the address the
 * connection came in on, and the names the daemon was told to answer to.
 * Throws `TownError('not-this-host')`.
 */
export function hostCheck(hostNames: readonly string[]): (request: FastifyRequest) => void {
  const names = new Set([...loopbackNames, ...hostNames.map((name) => hostNameOf(name) ?? name)]);
  return (request) => {
    const name = hostNameOf(request.headers.host);
    if (name !== null && (names.has(name) || name === localName(request))) return;
    throw new TownError(
      'not-this-host',
      'This daemon does not answer to the name in the Host header.',
      'Use the address that the daemon printed when it started.',
    );
  };
}

const isReading = (method: string): boolean => method === 'GET' || method === 'HEAD' || method === 'OPTIONS';

/** Whether an Origin header is that of this daemon, by the Host header it was asked with (checked before). */
function isSameOrigin(origin: string, host: string | undefined): boolean {
  try {
    const { protocol, host: originHost } = new URL(origin);
    return /^https?:$/.test(protocol) && new URL(`${protocol}//${host}`).host === originHost;
  } catch {
    return false;
  }
}

const otherOrigin = (): TownError =>
  new TownError(
    'not-this-origin',
    'A change must be asked for by a page of this daemon itself.',
    'Open the panel at the address the daemon printed; programs sign in with "Authorization: Bearer".',
  );

/** A check for every request that changes something: if a page sent it, the page is ours. Throws `not-this-origin`. */
export function checkOrigin(request: FastifyRequest): void {
  const { origin, host } = request.headers;
  if (isReading(request.method) || origin === undefined) return;
  if (!isSameOrigin(origin, host)) throw otherOrigin();
}

/**
 * A check for changes whose right comes from a cookie, which browsers send by themselves: the Origin must be there and
 * ours, and the header that no foreign page can add without being asked first. Throws `not-this-origin`.
 */
export function checkCookieUse(request: FastifyRequest): void {
  if (isReading(request.method)) return;
  if (request.headers.origin === undefined) throw otherOrigin();
  checkOrigin(request);
  if (request.headers['x-town-csrf'] !== '1')
    throw new TownError(
      'not-this-origin',
      'A change asked for with the session cookie needs the header "X-Town-CSRF: 1".',
      'Add the header, or sign in with "Authorization: Bearer".',
    );
}
