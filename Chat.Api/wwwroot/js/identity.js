// Who asks: nobody in particular where the server allows that, else whoever the access token names.
import { memory } from './dom.js';

/** Events: 'refused' when the server wants a token, or another one. */
class Identity extends EventTarget {
  /** Forgotten with the tab. @returns {string | null} */
  get token() {
    return memory.get('token', 'sessionStorage');
  }

  /** @param {string | null} token as it was pasted; null signs out */
  set token(token) {
    memory.set('token', token && token.replace(/^\s*(Bearer\s+)?|\s+/gi, ''), 'sessionStorage');
  }

  /** @returns {Record<string, string>} */
  get headers() {
    return this.token ? { Authorization: `Bearer ${this.token}` } : {};
  }
}

export const identity = new Identity();
