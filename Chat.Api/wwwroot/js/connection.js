// One WebSocket to the hub that is kept up for as long as the page is open.
import { fromHub } from './errors.js';
import { identity } from './identity.js';

/** The connection went away before an answer came; the call may be made again once ready() says so. */
export class ConnectionLost extends Error {}

const longestWait = 15_000;

/**
 * Events: 'state' whenever {@link Connection.state} or the time of the next attempt changed.
 * No negotiation and no stateful reconnect: a reply is resumed by Attach, from whichever server answers.
 */
export class Connection extends EventTarget {
  /** @type {'connecting' | 'online' | 'offline' | 'paused'} */
  state = 'connecting';
  /** When the next attempt starts, in the time of performance.now(). */
  nextAttempt = 0;
  #attempts = 0;
  #timer = 0;
  /** @type {Promise<void> | undefined} */
  #stopped;
  /** @type {Set<() => void>} */
  #waiting = new Set();
  #hub;

  /** @param {string} url */
  constructor(url) {
    super();
    // @ts-ignore the global that lib/signalr.min.js leaves
    const { HubConnectionBuilder, HttpTransportType, LogLevel } = signalR;
    this.#hub = new HubConnectionBuilder().withUrl(url, { skipNegotiation: true, transport: HttpTransportType.WebSockets, accessTokenFactory: () => identity.token ?? '' }).configureLogging(LogLevel.None).build();
    this.#hub.onclose(() => this.#failed());
    addEventListener('online', () => this.retryNow());
  }

  /** Begins to connect, and goes on until it succeeds or {@link Connection.pause} is called. */
  async start() {
    this.#set('connecting');
    try {
      await this.#stopped;
      await this.#hub.start();
    } catch {
      this.#failed();
      return;
    }
    this.#attempts = 0;
    this.#set('online');
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  /** Gives up until the next {@link Connection.start}: the server would refuse. */
  pause() {
    clearTimeout(this.#timer);
    this.#set('paused');
    this.#stopped = this.#hub.stop();
  }

  retryNow() {
    if (this.state !== 'offline') return;
    clearTimeout(this.#timer);
    void this.start();
  }

  /** Resolves when calls can be made. @param {AbortSignal} [signal] gives up waiting */
  ready(signal) {
    if (this.state === 'online') return Promise.resolve();
    return new Promise((/** @type {(value?: any) => void} */ resolve, reject) => {
      this.#waiting.add(resolve);
      signal?.addEventListener('abort', () => { this.#waiting.delete(resolve); reject(signal.reason); }, { once: true });
    });
  }

  /** @param {string} method @param {...any} values @throws {ConnectionLost | import('./errors.js').ChatError} */
  async invoke(method, ...values) {
    try {
      return await this.#hub.invoke(method, ...values);
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /**
   * Resolves when the server has completed the stream. Aborting stops listening; the reply itself runs on.
   * @param {[string, ...any[]]} call @param {(event: any) => void} onEvent @param {AbortSignal} [signal]
   */
  stream([method, ...values], onEvent, signal) {
    return new Promise((/** @type {(value?: any) => void} */ resolve, reject) => {
      const subscription = this.#hub.stream(method, ...values).subscribe({
        next: onEvent,
        complete: resolve,
        error: (/** @type {unknown} */ error) => reject(this.#explain(error)),
      });
      signal?.addEventListener('abort', () => { subscription.dispose(); reject(signal.reason); }, { once: true });
    });
  }

  /** @param {unknown} error */
  #explain(error) {
    const answered = /on the server/.test(String(error));
    return answered ? fromHub(error) : new ConnectionLost(String(error));
  }

  #failed() {
    if (this.state === 'paused') return;
    const wait = Math.min(longestWait, 500 * 2 ** this.#attempts++) * (0.75 + Math.random() / 2); // spread, or all pages come back in the same instant
    this.nextAttempt = performance.now() + wait;
    this.#timer = setTimeout(() => this.start(), wait);
    this.#set('offline');
  }

  /** @param {Connection['state']} state */
  #set(state) {
    this.state = state;
    this.dispatchEvent(new Event('state'));
  }
}
