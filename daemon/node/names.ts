/** Names of people, as far as this node may read them. */
import type { Json, JsonObject } from '../ledger/ids.js';
import { readJson, type StateReader } from '../ledger/state.js';
import type { KeyStore } from './key-files.js';
import type { PrivateRecords } from './private-records.js';

/** As the membership dapp keeps a person. */
export interface PersonRecord {
  readonly status: 'active' | 'suspended';
  readonly profile: JsonObject;
  readonly member: string | null;
  readonly added: number;
  readonly reason?: JsonObject;
}

export interface Profile {
  readonly name: string | null;
  readonly contact: string | null;
}

/** What a sealed field is bound to. */
export const ABOUT = {
  profile: 'membership.profile',
  record: 'door-access.record',
  memo: 'credit.memo',
  suspension: 'membership.reason',
  revocation: 'door-access.reason',
} as const;

export const readPerson = (state: StateReader, person: string): PersonRecord | undefined =>
  readJson<PersonRecord>(state, 'membership', 'people', person);

export class Names {
  constructor(
    private readonly view: { readonly state: StateReader },
    private readonly records: PrivateRecords,
    private readonly keyStore: KeyStore,
  ) {}

  profile(person: PersonRecord): Profile {
    const value = this.records.open(ABOUT.profile, person.profile) as { name?: Json; contact?: Json } | null;
    const text = (field: Json | undefined): string | null => (typeof field === 'string' ? field : null);
    return { name: text(value?.name), contact: text(value?.contact) };
  }

  ofPerson(person: string): string | null {
    const record = readPerson(this.view.state, person);
    return record ? this.profile(record).name : null;
  }

  ofMember(member: string): string | null {
    const kept = this.keyStore.nameOf(member);
    if (kept !== null) return kept;
    const link = readJson<{ person: string }>(this.view.state, 'membership', 'links', member);
    return link ? this.ofPerson(link.person) : null;
  }
}
