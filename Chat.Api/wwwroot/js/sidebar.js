// The list of conversations: search, groups by date, and the drawer that it is on a phone.
import { listConversations } from './api.js';
import { byId, element, iconButton } from './dom.js';
import { ChatError } from './errors.js';
import { t } from './language.js';

/** @typedef {import('./api.js').ConversationInfo} ConversationInfo */

const searchDelay = 200;

export class Sidebar {
  #list = byId('list');
  #search = byId('search');
  #menu = byId('menu');
  /** @type {ConversationInfo[]} */
  #known = [];
  /** @type {string | null} */
  #cursor = null;
  /** Why the list could not be loaded. @type {unknown} */
  #error = null;
  #request = new AbortController();
  /** The list as it was asked for is on its way; null = the first page. @type {{cursor: string | null} | null} */
  #loading = null;
  /** @type {string | null} */
  #current = null;
  #isLoadingMore = false;
  #end = new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) void this.#loadMore(); }, { root: this.#list, rootMargin: '200px' });

  /** @param {(button: any, info: ConversationInfo) => void} showMenu */
  constructor(showMenu) {
    this.showMenu = showMenu;
    let timer = 0;
    this.#search.addEventListener('input', () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.refresh(), searchDelay);
    });
    this.#search.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
      if (event.key === 'ArrowDown') { event.preventDefault(); this.#list.querySelector('a')?.focus(); }
    });
    this.#list.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => this.#move(event));
    this.#menu.addEventListener('click', () => this.toggle(true));
    byId('close-drawer').addEventListener('click', () => this.toggle(false));
    byId('backdrop').addEventListener('click', () => this.toggle(false));
    this.#list.addEventListener('click', (/** @type {Event} */ event) => { if (/** @type {Element} */ (event.target).closest('a')) this.toggle(false); });
  }

  get isOpen() {
    return document.body.classList.contains('drawer-open');
  }

  /** The drawer of a narrow window; a wide one always shows the list. @param {boolean} open */
  toggle(open) {
    if (open === this.isOpen) return;
    document.body.classList.toggle('drawer-open', open);
    this.#menu.setAttribute('aria-expanded', String(open));
    byId('main').inert = open;
    if (open) byId('close-drawer').focus(); else this.#menu.focus();
  }

  focusSearch() {
    if (getComputedStyle(this.#menu).display !== 'none') this.toggle(true);
    this.#search.focus();
    this.#search.select();
  }

  /** @param {string | null} id of the conversation on show */
  select(id) {
    this.#current = id;
    this.draw();
  }

  /** Loads the list again, from the top. */
  refresh() {
    return this.#load(null);
  }

  /** @param {string} id */
  find(id) {
    return this.#known.find((info) => info.conversationId === id);
  }

  /** Shows at once what the server will tell later. @param {ConversationInfo} info */
  put(info) {
    this.#known = [info, ...this.#known.filter((other) => other.conversationId !== info.conversationId)];
    this.#changed();
  }

  /** @param {string} id */
  drop(id) {
    this.#known = this.#known.filter((info) => info.conversationId !== id);
    this.#changed();
  }

  /** What is on its way was read before this change and would undo it. */
  #changed() {
    if (this.#loading) void this.#load(this.#loading.cursor);
    this.draw();
  }

  draw() {
    const groups = Map.groupBy(this.#known, (info) => groupOf(new Date(info.updatedAt ?? info.createdAt)));
    /** @type {Node[]} */
    const nodes = [...groups].map(([key, infos]) => element('section', {}, element('h2', {}, t(key)), element('ul', {}, ...infos.map((info) => this.#entry(info)))));
    const query = this.#search.value.trim();
    const isRefused = this.#error instanceof ChatError && this.#error.code === 'unauthorized';
    if (this.#error) nodes.push(element('p', { class: 'note' }, this.#error instanceof ChatError ? this.#error.sentence : t('listFailed'), ' ', element('button', { type: 'button', class: 'small', hidden: isRefused, onclick: () => this.refresh() }, t('tryAgain'))));
    else if (this.#known.length === 0) nodes.push(element('p', { class: 'note' }, query ? t('noMatch', { q: query }) : t('noConversations')));
    this.#end.disconnect();
    if (this.#cursor) {
      const more = element('button', { type: 'button', class: 'small', onclick: () => this.#loadMore() }, t('showMore'));
      nodes.push(more);
      this.#end.observe(more);
    }
    const focused = this.#list.contains(document.activeElement) ? document.activeElement : null;
    const row = focused?.closest('li')?.querySelector('a')?.getAttribute('href');
    const { scrollTop } = this.#list;
    this.#list.replaceChildren(...nodes);
    this.#list.scrollTop = scrollTop;
    if (!focused) return;
    const link = row ? this.#list.querySelector(`a[href="${CSS.escape(row)}"]`) : null;
    (focused.tagName === 'BUTTON' && link ? link.nextElementSibling : link ?? this.#list).focus();
  }

  /** @param {ConversationInfo} info */
  #entry(info) {
    const { conversationId, title } = info;
    const more = iconButton('more', t('moreFor', { title }), () => this.showMenu(more, info), { 'aria-haspopup': 'menu', 'aria-expanded': false });
    return element('li', {},
      element('a', { href: `#${conversationId}`, title, 'aria-current': conversationId === this.#current ? 'page' : null }, title || t('newChat')),
      more);
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const links = [...this.#list.querySelectorAll('a')];
    const at = links.indexOf(document.activeElement);
    if (at < 0) return;
    event.preventDefault();
    (links[at + step] ?? (step < 0 ? this.#search : links[at])).focus();
  }

  /** The list goes on where its end comes into sight; the button is there for the keyboard. */
  async #loadMore() {
    if (this.#isLoadingMore) return;
    this.#isLoadingMore = true;
    const { length } = this.#known;
    const hadFocus = document.activeElement?.parentElement === this.#list;
    await this.#load(this.#cursor);
    this.#isLoadingMore = false;
    if (hadFocus) this.#list.querySelectorAll('a')[length]?.focus();
  }

  /** @param {string | null} cursor */
  async #load(cursor) {
    this.#request.abort();
    const { signal } = this.#request = new AbortController();
    this.#loading = { cursor };
    try {
      const page = await listConversations(this.#search.value.trim(), cursor, signal);
      if (signal.aborted) return; // after the answer, before this line
      this.#known = cursor ? [...this.#known, ...page.conversations] : page.conversations;
      this.#cursor = page.nextCursor;
      this.#error = null;
    } catch (error) {
      if (signal.aborted) return;
      this.#error = error;
    }
    this.#loading = null;
    this.draw();
  }
}

/** @param {Date} date @returns {string} the key of its heading */
function groupOf(date) {
  const midnight = new Date();
  midnight.setHours(0, 0, 0, 0);
  const days = Math.ceil((midnight.getTime() - date.getTime()) / 86_400_000);
  return days <= 0 ? 'today' : days === 1 ? 'yesterday' : days < 7 ? 'week' : 'earlier';
}
