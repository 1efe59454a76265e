// What a server says when it says no, and the words for it.
import { seconds, t } from './language.js';

/** An answer of the server; a lost connection is never one. */
export class ChatError extends Error {
  /** @param {string} code not_found | invalid | conflict | busy | limited | too_large | unauthorized | failed @param {string} detail @param {number} [seconds] until a limit ends */
  constructor(code, detail, seconds) {
    super(detail);
    this.code = code;
    this.#end = performance.now() + (seconds ?? 1) * 1000;
  }

  #end;

  /** Seconds until a limit ends, 0 when it has. */
  get seconds() {
    return this.code === 'limited' ? Math.max(0, Math.ceil((this.#end - performance.now()) / 1000)) : 0;
  }

  /** In the user's language. */
  get sentence() {
    const detail = this.message || t('unknownError');
    switch (this.code) {
      case 'not_found': return t('notFound');
      case 'busy': return t('busy');
      case 'limited': return t('limited', { time: seconds(this.seconds) });
      case 'too_large': return t('tooLarge');
      case 'unauthorized': return t('unauthorized');
      case 'invalid': case 'conflict': return t('invalid', { detail });
      default: return t('failed', { detail });
    }
  }
}

/**
 * A hub error reads «… HubException: code: sentence».
 * @param {unknown} error
 */
export function fromHub(error) {
  const message = error instanceof Error ? error.message : String(error);
  const [, code, sentence] = /HubException: (\w+): (.*)$/s.exec(message) ?? [];
  return code ? new ChatError(code, sentence, Number(/in (\d+) second/.exec(sentence)?.[1]) || undefined) : new ChatError('failed', message);
}

/**
 * Problem details (RFC 9457) of a refused request.
 * @param {Response} response
 */
export async function fromHttp(response) {
  const codes = /** @type {Record<number, string>} */ ({ 400: 'invalid', 401: 'unauthorized', 403: 'unauthorized', 404: 'not_found', 413: 'too_large', 429: 'limited' });
  /** @type {{code?: string, detail?: string, title?: string}} */
  let problem = {};
  try {
    problem = await response.json();
  } catch { /* no body, or not JSON */ }
  const seconds = Number(response.headers.get('Retry-After')) || undefined;
  return new ChatError(problem.code ?? codes[response.status] ?? 'failed', problem.detail ?? problem.title ?? response.statusText, seconds);
}
