/** What was recorded by an action: the entry, durable when this is returned. */
export interface Recorded {
  readonly entry: string;
  readonly state: 'pending';
}
