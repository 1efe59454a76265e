// The messages on show: one path through the conversation, or the welcome while there is none.
import { byId, element, icon } from './dom.js';
import { language, t } from './language.js';
import { TurnView } from './turn.js';

/** @typedef {import('./conversation.js').Turn} Turn */

export class Thread {
  #scroller = byId('thread');
  #latest = byId('latest');
  /** @type {Map<Turn, TurnView>} */
  #views = new Map();
  /** @type {Set<Turn>} */
  #unpainted = new Set();
  #frame = 0;
  /** The reader is at the newest words and wants to stay there. */
  #pinned = true;

  /**
   * @param {import('./turn.js').TurnActions} actions
   * @param {{begin: (text: string) => void, loadEarlier: () => Promise<void>, signIn: (token: string) => Promise<string>}} page
   */
  constructor(actions, page) {
    this.actions = actions;
    this.page = page;
    this.#scroller.addEventListener('scroll', () => {
      const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
      this.#pinned = scrollHeight - scrollTop - clientHeight < 60;
      this.#latest.hidden = this.#pinned;
    }, { passive: true });
    this.#latest.addEventListener('click', () => this.toLatest());
    new ResizeObserver(() => this.#follow()).observe(this.#scroller); // the keyboard of a phone, a growing message box
  }

  /**
   * @param {import('./conversation.js').Conversation} conversation
   * @param {{busy: boolean, offline: boolean, loading: boolean, greeting: string, signedOut: boolean}} state
   */
  draw(conversation, { busy, offline, loading, greeting, signedOut }) {
    const path = signedOut ? [] : conversation.path;
    const page = { busy, offline, language };
    const views = path.map((turn) => {
      const view = this.#views.get(turn) ?? new TurnView(turn, this.actions);
      this.#views.set(turn, view);
      view.update(conversation.versions(turn), page);
      return view;
    });
    for (const turn of this.#views.keys()) if (!path.includes(turn)) this.#views.delete(turn);

    const nodes = views.map((view) => view.element);
    if (signedOut) nodes.push(this.#signIn());
    else if (loading) nodes.unshift(element('p', { class: 'loading' }, t('loading')));
    else if (conversation.hasEarlier) nodes.unshift(this.#earlierButton());
    else if (path.length === 0) nodes.push(this.#welcome(greeting));
    this.#place(nodes);
    this.#scroller.classList.toggle('empty', path.length === 0 && !loading);
    this.#follow();
  }

  /** Shows new words of a reply with the next frame, however many came. @param {Turn} turn */
  paint(turn) {
    this.#unpainted.add(turn);
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      for (const each of this.#unpainted) this.#views.get(each)?.paint();
      this.#unpainted.clear();
      this.#follow();
    });
  }

  /** Opens the box that says a message differently. @param {string | null} id of its turn */
  edit(id) {
    for (const [turn, view] of this.#views) if (turn.id === id) view.startEdit();
  }

  toLatest() {
    this.#pinned = true;
    this.#follow();
  }

  /** Puts the nodes in order without touching those that already stand right: what is moved loses its focus. @param {HTMLElement[]} nodes */
  #place(nodes) {
    for (const child of [...this.#scroller.children]) if (!nodes.includes(child)) child.remove();
    nodes.forEach((node, index) => {
      if (this.#scroller.children[index] !== node) this.#scroller.insertBefore(node, this.#scroller.children[index] ?? null);
    });
  }

  #follow() {
    if (this.#pinned) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#latest.hidden = this.#pinned;
  }

  /** Stays as it is while somebody types; made anew in another language. */
  #signIn() {
    const there = this.#scroller.querySelector(`.sign-in[lang|="${language}"]`);
    if (there) return there;
    const box = element('input', { id: 'token', type: 'password', required: true, autocomplete: 'off', spellcheck: 'false' });
    const error = element('p', { class: 'error', role: 'alert' });
    const submit = async (/** @type {Event} */ event) => {
      event.preventDefault();
      error.textContent = await this.page.signIn(box.value);
      box.select();
    };
    return element('form', { class: 'welcome sign-in', lang: language, onsubmit: submit },
      icon('shield', 'logo'), element('h2', {}, t('signIn')), element('p', {}, t('signInHint')),
      element('label', { for: 'token' }, t('token')), box, error,
      element('button', { class: 'primary', type: 'submit' }, t('signIn')));
  }

  #earlierButton() {
    const button = element('button', {
      type: 'button', class: 'small earlier',
      onclick: async () => {
        button.disabled = true;
        const before = this.#scroller.scrollHeight;
        await this.page.loadEarlier();
        this.#scroller.scrollTop += this.#scroller.scrollHeight - before;
      },
    }, t('loadEarlier'));
    return button;
  }

  /** @param {string} greeting of the bot, if it has one */
  #welcome(greeting) {
    const starters = t('starters').map((/** @type {string} */ text) => element('button', { type: 'button', class: 'starter', onclick: () => this.page.begin(text) }, text));
    return element('section', { class: 'welcome' },
      icon('chat', 'logo'),
      element('h2', {}, greeting || t('welcome')),
      element('div', { class: 'starters', role: 'group', 'aria-label': t('startersLabel') }, ...starters));
  }
}
