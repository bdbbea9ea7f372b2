/**
 * Which page an address means. `/setup#token` and `/join#code` are links that are handed out;
 * every other page lives behind `/#/…`, so that any static file server can serve the panel.
 */
const plainPages = ['people', 'doors', 'gigs', 'bank', 'nodes', 'town-hall', 'you', 'first-here'] as const;
const tabNames = ['merges', 'graph', 'entries', 'branches'] as const;

export type Route =
  | { readonly page: 'home' | (typeof plainPages)[number] | 'unknown' }
  | { readonly page: 'setup'; readonly token: string }
  | { readonly page: 'join'; readonly code: string }
  | { readonly page: 'ledger'; readonly tab: (typeof tabNames)[number] }
  | { readonly page: 'merge'; readonly id: string }
  | { readonly page: 'entry'; readonly id: string };

const plain = new Set(plainPages);
const tabs = new Set(tabNames);

/** Addresses that people may type or that were linked without the `#`. */
const placeOfPath: { readonly [path: string]: Route } = {
  '/people': { page: 'people' },
  '/doors': { page: 'doors' },
  '/ledger': { page: 'ledger', tab: 'merges' },
  '/gigs': { page: 'gigs' },
  '/bank': { page: 'bank' },
  '/town': { page: 'town-hall' },
};

const isIn = <T extends string>(set: ReadonlySet<T>, text: string): text is T =>
  (set as ReadonlySet<string>).has(text);

/** The route of a location. Total: an address that means nothing is `unknown`. */
export function routeOf(location: { readonly pathname: string; readonly hash: string }): Route {
  const hash = location.hash.replace(/^#/, '');
  const path = location.pathname.replace(/\/+$/, '');
  // A page opened from the setup page (`/setup#/doors`) is an ordinary page.
  if (!hash.startsWith('/')) {
    if (path === '/setup') return { page: 'setup', token: hash };
    if (path === '/join') return { page: 'join', code: hash };
  }
  const place = hash === '' ? placeOfPath[path] : undefined;
  if (place !== undefined) return place;
  const [first = '', second = '', ...more] = hash.split('/').slice(1).map(decoded);
  if (first === '') return { page: 'home' };
  if (more.length > 0) return { page: 'unknown' };
  if (first === 'ledger' && second === '') return { page: 'ledger', tab: 'merges' };
  if (first === 'ledger' && isIn(tabs, second)) return { page: 'ledger', tab: second };
  if (first === 'merge' && second !== '') return { page: 'merge', id: second };
  if (first === 'entry' && second !== '') return { page: 'entry', id: second };
  if (second === '' && isIn(plain, first)) return { page: first };
  return { page: 'unknown' };
}

/** The address of a page, for `href`. */
export function hrefOf(route: Exclude<Route, { page: 'setup' | 'join' | 'unknown' }>): string {
  switch (route.page) {
    case 'home':
      return '/#/';
    case 'ledger':
      return route.tab === 'merges' ? '/#/ledger' : `/#/ledger/${route.tab}`;
    case 'merge':
    case 'entry':
      return `/#/${route.page}/${encodeURIComponent(route.id)}`;
    default:
      return `/#/${route.page}`;
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
