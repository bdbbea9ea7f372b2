/** A map that forgets what was put in first once it is full: for what a pure function gave. */
export class BoundedCache<T> {
  readonly #values = new Map<string, T>();
  constructor(readonly sizeMax: number) {}

  /** What is kept under the name; made and kept where nothing is. */
  get(name: string, make: () => T): T {
    const known = this.#values.get(name);
    if (known !== undefined) return known;
    const made = make();
    if (this.#values.size >= this.sizeMax) {
      for (const oldest of this.#values.keys()) {
        this.#values.delete(oldest);
        break;
      }
    }
    this.#values.set(name, made);
    return made;
  }

  delete(name: string): void {
    this.#values.delete(name);
  }
}
