// A conversation is a tree: an edit or another reply is a sibling, and the page shows one path through it.

/**
 * A turn as History gives it, and what only this page knows of it.
 * @typedef {object} Turn
 * @property {string} id
 * @property {'user' | 'assistant' | 'tool'} role
 * @property {string} text
 * @property {string} state running | stop | length | stopped | refused | interrupted; here also unsent (not acknowledged yet) and failed (the server said no)
 * @property {string | null} replyTo the turn it follows
 * @property {string} [createdAt]
 * @property {'up' | 'down' | null} [rating]
 * @property {import('./errors.js').ChatError} [error] why it failed
 * @property {number} [since] when the wait for its first word began, in the time of performance.now()
 */

export class Conversation {
  /** @type {Map<string, Turn>} */
  #turns = new Map();
  /** Which child of a turn is on the path; without an entry, the newest. @type {Map<string | null, string>} */
  #chosen = new Map();
  /** Earlier turns exist that were not loaded. */
  hasEarlier = false;
  title = '';
  /** Whom it is held with, once that is known. @type {string | null} */
  bot = null;

  /** @param {string | null} id null until the server has given one @param {Record<string, string>} [choices] of an earlier visit */
  constructor(id, choices = {}) {
    this.id = id;
    for (const [parent, turn] of Object.entries(choices)) this.#chosen.set(parent || null, turn);
  }

  /** The versions chosen against the newest, by the turn they follow ('' = the beginning). @returns {Record<string, string>} */
  get choices() {
    const older = [...this.#chosen].filter(([, id]) => {
      const turn = this.#turns.get(id);
      return turn && this.versions(turn).at(-1) !== turn;
    });
    return Object.fromEntries(older.map(([parent, id]) => [parent ?? '', id]));
  }

  /** Takes the newest page of the history, oldest first, over what is known. A turn keeps its object. @param {Turn[]} turns */
  load(turns) {
    const fresh = new Map(turns.map((turn) => [turn.id, Object.assign(this.#turns.get(turn.id) ?? {}, turn)]));
    const others = [...this.#turns].filter(([id]) => !fresh.has(id));
    const mine = others.filter(([, turn]) => turn.state === 'unsent' || turn.state === 'failed');
    this.#turns = new Map([...others.filter((entry) => !mine.includes(entry)), ...fresh, ...mine]);
  }

  /** Takes the page before the oldest known turn. @param {Turn[]} turns */
  loadEarlier(turns) {
    this.#turns = new Map([...turns.map((turn) => /** @type {[string, Turn]} */ ([turn.id, turn])), ...this.#turns]);
  }

  /** @param {Turn} turn */
  add(turn) {
    this.#turns.set(turn.id, turn);
    this.#chosen.set(this.#parentOf(turn), turn.id);
  }

  /** @param {Turn} turn */
  remove(turn) {
    this.#turns.delete(turn.id);
    this.#chosen.delete(this.#parentOf(turn));
  }

  /** A reply gets its real id with its first event. @param {Turn} turn @param {string} id */
  rename(turn, id) {
    if (turn.id === id) return;
    const parent = this.#parentOf(turn);
    const wasChosen = this.#chosen.get(parent) === turn.id;
    this.#turns.delete(turn.id);
    turn.id = id;
    this.#turns.set(id, turn);
    if (wasChosen) this.#chosen.set(parent, id);
  }

  /** @param {string} id */
  get(id) {
    return this.#turns.get(id);
  }

  /** The turns on show, first to last. @returns {Turn[]} */
  get path() {
    const path = [];
    for (let next = this.#childOf(null); next; next = this.#childOf(next.id)) path.push(next);
    return path;
  }

  /** The reply that runs, wherever in the tree. */
  get running() {
    return [...this.#turns.values()].find((turn) => turn.role === 'assistant' && turn.state === 'running');
  }

  get oldest() {
    return this.#turns.values().next().value;
  }

  /** All versions of a turn, itself included, oldest first. @param {Turn} turn */
  versions(turn) {
    const parent = this.#parentOf(turn);
    return [...this.#turns.values()].filter((other) => other.role === turn.role && this.#parentOf(other) === parent);
  }

  /** @param {Turn} turn */
  choose(turn) {
    this.#chosen.set(this.#parentOf(turn), turn.id);
  }

  /** A parent that was not loaded counts as none. @param {Turn} turn */
  #parentOf(turn) {
    return turn.replyTo !== null && this.#turns.has(turn.replyTo) ? turn.replyTo : null;
  }

  /** @param {string | null} parent */
  #childOf(parent) {
    const children = [...this.#turns.values()].filter((turn) => this.#parentOf(turn) === parent);
    return children.find((turn) => turn.id === this.#chosen.get(parent)) ?? children.at(-1);
  }
}
