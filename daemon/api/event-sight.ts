/**
 * How much of a live event a session may see: as much as the node would tell it when asked. The node tells its events once, in
 * full; here each listener gets its share.
 */
import type { EntryView, SessionView, TownEvent } from '../node/use-cases.js';

/** Whether a session may do this; `<dapp>.*` covers every verb, as in the charter. */
function may({ permissions }: SessionView, permission: string): boolean {
  return permissions.includes(permission) || permissions.includes(`${permission.split('.', 1)[0]}.*`);
}

/** Merges can be large: their entries are there to be asked for. */
function summary(event: TownEvent & { kind: 'merge' }): TownEvent {
  const { entries: _, ...merge } = event.merge;
  return { kind: 'merge', merge };
}

/** That there was an entry of this kind and what became of it, without what it says: that may concern persons. */
function outline(entry: EntryView): EntryView {
  const { reason: _, ...rest } = entry;
  return { ...rest, says: `${entry.by}: ${entry.type}`, body: {} };
}

/** The event as this session may see it; null: not at all. */
export function seenBy(session: SessionView, event: TownEvent): TownEvent | null {
  switch (event.kind) {
    case 'door':
      return may(session, 'door.open') ? event : null;
    case 'enrol':
      return may(session, 'door-access.enrol') ? event : null;
    case 'entry':
      return may(session, 'membership.add') || event.entry.member === session.member
        ? event
        : { kind: 'entry', entry: outline(event.entry) };
    case 'merge':
      return summary(event);
    case 'notice':
      return event.member === session.member ? event : null;
    case 'strike':
    case 'nodes':
    case 'status':
      return event;
  }
}
