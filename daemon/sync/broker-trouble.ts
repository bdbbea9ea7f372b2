/** Why a broker is not reached, in words for people. Nothing of what the broker itself said, and no name or password, is in them. */

/** The broker's answers to who would connect: return codes of MQTT 3.1.1, section 3.2.2.3. */
const REFUSALS: { readonly [returnCode: number]: string } = {
  1: 'The broker does not speak MQTT 3.1.1.',
  2: 'The broker refuses the id of this client.',
  3: 'The broker says that it is not available just now.',
  4: 'The broker refuses the name or the password.',
  5: 'The broker refuses this node: it asks for a name and a password, or for others than these.',
};

/** The broker has shown another certificate than the one that it is known by. */
export const NOT_PINNED = 'BROKER_NOT_PINNED';

/** Codes of Node.js, of the resolver and of OpenSSL, and the one above. */
const FAILURES: { readonly [code: string]: string } = {
  [NOT_PINNED]:
    'At the address of the broker is another one than the invitation named: its certificate has another fingerprint.',
  ENOTFOUND: "No machine of the broker's name is found.",
  EAI_AGAIN: "The broker's name cannot be looked up just now.",
  ECONNREFUSED: 'Nothing listens at the address of the broker.',
  ECONNRESET: 'The connection to the broker was cut.',
  EPIPE: 'The connection to the broker was cut.',
  ETIMEDOUT: 'The machine of the broker does not answer.',
  EHOSTUNREACH: 'There is no way to the machine of the broker.',
  EHOSTDOWN: 'There is no way to the machine of the broker.',
  ENETUNREACH: 'There is no way to the network of the broker.',
  CERT_HAS_EXPIRED: "The broker's certificate has run out, or the clock of this board is wrong.",
  CERT_NOT_YET_VALID: "The broker's certificate is not valid yet, or the clock of this board is wrong.",
  ERR_TLS_CERT_ALTNAME_INVALID: "The broker's certificate is for another name than the one it is dialled by.",
};

/** Of a certificate that nobody known here has signed. */
const UNTRUSTED: ReadonlySet<string> = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

export const NO_ANSWER = 'The broker ended the connection before it was one, or does not answer as a broker.';
export const NO_SUBSCRIPTION = "The broker does not let this node hear the town's topics.";

/** What an error of the client means to a person. */
export function brokerTrouble(error: unknown): string {
  const { code } = error as { readonly code?: unknown };
  if (typeof code === 'number') return REFUSALS[code] ?? `The broker refuses this node (${code}).`;
  if (typeof code !== 'string') return NO_ANSWER;
  if (UNTRUSTED.has(code))
    return "The broker's certificate is of an authority that this board does not trust: name it as broker.ca in config.json.";
  if (/^(EPROTO$|ERR_SSL_)/.test(code))
    return 'The broker does not speak TLS as this node does, or not at all.';
  return FAILURES[code] ?? `The broker is not reached (${code.slice(0, 64)}).`;
}
