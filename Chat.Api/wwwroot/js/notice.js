// One line above the message box: the state of the connection, or what went wrong last.
import { byId, element, icon, iconButton } from './dom.js';
import { seconds, t } from './language.js';

export class Notice {
  #line = byId('notice');
  #timer = 0;

  /** @param {import('./connection.js').Connection} connection */
  constructor(connection) {
    this.connection = connection;
    connection.addEventListener('state', () => this.#showConnection());
  }

  /** @param {string} sentence */
  show(sentence) {
    this.#put('problem', element('span', {}, sentence), iconButton('close', t('close'), () => this.dismiss()));
  }

  /** Takes a problem away; that there is no connection stays said. */
  dismiss() {
    if (this.#line.dataset.kind !== 'problem') return;
    this.#clear();
    this.#showConnection();
  }

  #clear() {
    clearTimeout(this.#timer);
    this.#line.hidden = true;
    this.#line.dataset.kind = '';
    this.#line.replaceChildren();
  }

  /** A first connection says nothing: it takes no time worth a word. */
  #showConnection() {
    const { state } = this.connection;
    if (state === 'offline') {
      const words = element('span');
      this.#put('offline', words, element('button', { type: 'button', class: 'small', onclick: () => this.connection.retryNow() }, t('reconnect')));
      const count = () => {
        words.textContent = t('offline', { time: seconds(Math.max(1, Math.ceil((this.connection.nextAttempt - performance.now()) / 1000))) });
        this.#timer = setTimeout(count, 1000);
      };
      count();
    } else if (this.#line.dataset.kind === 'offline') {
      if (state !== 'connecting') this.#clear();
      else { clearTimeout(this.#timer); this.#line.querySelector('span').textContent = t('connecting'); }
    }
  }

  /** @param {string} kind @param {...Node} nodes */
  #put(kind, ...nodes) {
    clearTimeout(this.#timer);
    this.#line.dataset.kind = kind;
    this.#line.replaceChildren(icon('warn'), ...nodes);
    this.#line.hidden = false;
  }
}
