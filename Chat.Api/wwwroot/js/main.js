// The page: wires the parts together and knows which conversation is on show. Its address is the part behind the #.
import { deleteConversation, exportConversation, giveConsent, listBots, readConsent, readConversation, renameConversation } from './api.js';
import { Composer } from './composer.js';
import { Connection, ConnectionLost } from './connection.js';
import { Conversation } from './conversation.js';
import { askTitle, confirmDelete, openMenu } from './dialogs.js';
import { announce, byId, element, memory } from './dom.js';
import { ChatError } from './errors.js';
import { identity } from './identity.js';
import { inEachLanguage, loadLanguage, switchLanguage, t } from './language.js';
import { Notice } from './notice.js';
import { Replies } from './replies.js';
import { Settings } from './settings.js';
import { Sidebar } from './sidebar.js';
import { Thread } from './thread.js';

/** @typedef {import('./conversation.js').Turn} Turn */

const pageOfTurns = 200;
const askAgain = 1_000;

const connection = new Connection('hubs/chat');
const replies = new Replies(connection);
const notice = new Notice(connection);
const settings = new Settings(() => draw());
const sidebar = new Sidebar(showMenu);
const composer = new Composer({ send, stop, tooLong: () => notice.show(t('tooLarge')) });
const thread = new Thread({
  regenerate: (turn) => { if (!current.running) void replies.regenerate(current, turn, settings.options); },
  edit: (turn, text) => { thread.toLatest(); void replies.edit(current, turn, text); },
  choose: (turn) => { current.choose(turn); keepBranch(current); draw(); },
  retry: (turn) => void replies.retry(current, turn),
  editQuestion: (turn) => thread.edit(turn.replyTo),
  putBack: (turn) => { current.remove(turn); draw(); composer.put(turn.text); },
  rate,
}, { begin: send, loadEarlier, signIn });

/** Everything opened since the page was loaded; a reply goes on while another conversation is on show. @type {Map<string, Conversation>} */
const opened = new Map();
let current = new Conversation(null);
let loading = false;
/** The server answers nobody without a token. */
let signedOut = false;
/** The server uses chats for training where their owners agree; it says so with the first menu. */
let asksForConsent = true;

function draw() {
  const title = signedOut ? 'Chat' : current.title || (current.id ? '' : t('newChat'));
  byId('title').textContent = title;
  document.title = title && title !== 'Chat' ? `${title} · Chat` : 'Chat';
  document.body.classList.toggle('signed-out', signedOut);
  byId('more').hidden = current.id === null;
  byId('sign-out').hidden = signedOut || !identity.token;
  settings.show(current.bot);
  composer.setRunning(Boolean(current.running));
  thread.draw(current, { busy: Boolean(current.running), offline: connection.state === 'offline', loading, greeting: settings.greeting, signedOut });
}

/** @param {string} text */
function send(text) {
  if (current.running) return;
  notice.dismiss();
  thread.toLatest();
  current.bot ??= settings.bot;
  void replies.send(current, text, settings.options);
  composer.focus();
}

async function stop() {
  const reply = current.running;
  if (!reply) return;
  await attempt(() => replies.stop(current, reply));
}

/** @param {Turn} turn @param {'up' | 'down' | null} rating @param {string | null} comment @returns {Promise<boolean>} whether it is stored */
async function rate(turn, rating, comment) {
  const before = turn.rating ?? null;
  turn.rating = rating;
  draw();
  if (await attempt(() => connection.invoke('Rate', current.id, turn.id, rating, comment))) return true;
  turn.rating = before;
  draw();
  return false;
}

/** Does something whose failure is told above the message box. @param {() => Promise<any>} act @returns {Promise<boolean>} whether it was done */
async function attempt(act) {
  try {
    await act();
    return true;
  } catch (error) {
    if (error instanceof ChatError) notice.show(error.sentence);
    else if (!(error instanceof ConnectionLost)) notice.show(t('failed', { detail: String(error) }));
    return false;
  }
}

/** @param {string | null} id null begins a new conversation */
async function open(id) {
  current = id === null ? new Conversation(null) : opened.get(id) ?? new Conversation(id, memory.table('branches')[id]);
  if (id !== null) opened.set(id, current);
  notice.dismiss();
  composer.open(id);
  sidebar.select(id);
  thread.toLatest();
  loading = id !== null && current.path.length === 0;
  draw();
  if (id !== null) await refresh(current);
}

/** Takes what the server knows of a conversation, and follows a reply that runs there. @param {Conversation} conversation */
async function refresh(conversation) {
  const done = await attempt(async () => {
    await connection.ready();
    const [{ turns }, info] = await Promise.all([connection.invoke('History', conversation.id, null, pageOfTurns), readConversation(conversation.id ?? '')]);
    for (const turn of turns) turn.rating = info.ratings[turn.id] ?? null;
    conversation.load(turns);
    conversation.title = info.title;
    conversation.bot = info.bot;
    if (turns.length < pageOfTurns) conversation.hasEarlier = false;
    else conversation.hasEarlier ||= conversation.oldest?.id === turns[0].id;
    const { running } = conversation;
    if (running) void replies.attach(conversation, running);
  });
  if (conversation !== current) return;
  loading = false;
  if (!done && connection.state === 'online' && conversation.path.length === 0) location.hash = '';
  draw();
}

/** A reload shows the same branch again. @param {Conversation} conversation */
function keepBranch(conversation) {
  const { id, choices } = conversation;
  if (id !== null) memory.setRow('branches', id, Object.keys(choices).length > 0 ? choices : null);
}

/** @param {string} token @returns {Promise<string>} why the server did not take it, or nothing */
async function signIn(token) {
  identity.token = token;
  try {
    await listBots();
  } catch (error) {
    identity.token = null;
    return error instanceof ChatError && error.code !== 'unauthorized' ? error.sentence : t('tokenRefused');
  }
  signedOut = false;
  asksForConsent = true;
  await begin();
  composer.focus();
  return '';
}

function begin() {
  void connection.start();
  void sidebar.refresh();
  void settings.load();
  return open(location.hash.slice(1) || null);
}

async function loadEarlier() {
  const conversation = current;
  await attempt(async () => {
    const [{ turns }, info] = await Promise.all([connection.invoke('History', conversation.id, conversation.oldest?.id ?? null, pageOfTurns), readConversation(conversation.id ?? '')]);
    for (const turn of turns) turn.rating = info.ratings[turn.id] ?? null;
    conversation.loadEarlier(turns);
    conversation.hasEarlier = turns.length === pageOfTurns;
  });
  draw();
}

/** @param {any} button @param {{conversationId: string, title: string}} info */
async function showMenu(button, info) {
  const id = info.conversationId;
  const insert = openMenu(button, [
    { icon: 'edit', label: t('rename'), run: () => void rename(id, info.title) },
    { icon: 'download', label: t('export'), run: () => void attempt(() => save(id)) },
    { icon: 'trash', label: t('delete'), run: () => void erase(id, info.title), danger: true },
  ]);
  if (!asksForConsent) return;
  const consent = await readConsent(id).catch(() => null); // without it the rest of the menu still works
  if (!consent) return;
  asksForConsent = consent.asked;
  if (consent.asked) insert(2, { icon: 'check', label: t('training'), checked: consent.training, run: () => void consentTo(id, !consent.training) });
}

/** @param {string} id @param {boolean} training */
async function consentTo(id, training) {
  if (await attempt(() => giveConsent(id, training))) notice.show(t(training ? 'trainingOn' : 'trainingOff'));
}

/** @param {string} id */
async function save(id) {
  const href = URL.createObjectURL(await exportConversation(id));
  element('a', { href, download: `conversation-${id}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

/** @param {string} id @param {string} title */
async function rename(id, title) {
  const wanted = await askTitle(title);
  if (wanted === null || !await attempt(() => renameConversation(id, wanted))) return;
  const conversation = opened.get(id);
  if (conversation) conversation.title = wanted;
  await sidebar.refresh();
  draw();
}

/** @param {string} id @param {string} title */
async function erase(id, title) {
  if (!await confirmDelete(title) || !await attempt(() => deleteConversation(id))) return;
  opened.delete(id);
  sidebar.drop(id);
  composer.forget(id);
  memory.setRow('branches', id, null);
  announce(t('deleted'));
  if (current.id !== id) return;
  location.hash = '';
  composer.focus();
}

replies.addEventListener('text', (/** @type {any} */ { detail: { conversation, reply } }) => { if (conversation === current) thread.paint(reply); });
replies.addEventListener('change', (/** @type {any} */ { detail: { conversation } }) => { if (conversation === current) draw(); });
replies.addEventListener('created', (/** @type {any} */ { detail: { conversation } }) => {
  opened.set(conversation.id, conversation);
  if (conversation !== current) return;
  history.replaceState(null, '', `#${conversation.id}`);
});
replies.addEventListener('acknowledged', (/** @type {any} */ { detail: { conversation, reply } }) => {
  const isOnShow = conversation === current;
  composer.settle(conversation.id, conversation.get(reply.replyTo)?.text ?? '', isOnShow);
  if (isOnShow) announce(t('replyStarted'));
  conversation.title ||= conversation.path[0].text.slice(0, 60);
  keepBranch(conversation);
  const now = new Date().toISOString();
  sidebar.put({ createdAt: now, ...sidebar.find(conversation.id), conversationId: conversation.id, title: conversation.title, updatedAt: now });
  if (isOnShow) sidebar.select(conversation.id);
});
replies.addEventListener('finished', (/** @type {any} */ { detail: { conversation } }) => {
  if (conversation !== current) return;
  draw();
  announce(t('replyDone'));
});
replies.addEventListener('refused-call', (/** @type {any} */ { detail: { conversation, question, error, started } }) => {
  // The history knows what runs, or how it ended; what it says may lead here again, so not at once.
  if (started || error.code === 'busy') setTimeout(() => { if (conversation === current) void refresh(conversation); }, askAgain);
  if (error.code === 'unsent') {
    conversation.remove(question);
    if (conversation === current) composer.put(question.text);
  } else if (!question && !started && conversation === current) {
    notice.show(error.sentence);
  }
});

connection.addEventListener('state', () => {
  draw();
  if (connection.state === 'offline') void listBots().catch(() => { /* a refusal is told by the identity */ });
});
identity.addEventListener('refused', () => {
  connection.pause();
  signedOut = true;
  loading = false;
  draw();
});
addEventListener('hashchange', () => void open(location.hash.slice(1) || null));
addEventListener('visibilitychange', () => {
  if (document.visibilityState !== 'visible' || connection.state !== 'online') return;
  void sidebar.refresh(); // another device may have been at work
  if (current.id && !current.running) void refresh(current);
});
addEventListener('keydown', (event) => {
  const typing = /** @type {Element} */ (event.target).closest('input, textarea, select, dialog');
  if (event.key === 'Escape' && !event.isComposing && !document.querySelector('dialog[open], :popover-open')) {
    if (sidebar.isOpen) sidebar.toggle(false); else void stop();
  } else if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    sidebar.focusSearch();
  }
});

byId('skip').addEventListener('click', (/** @type {Event} */ event) => {
  event.preventDefault(); // the address names the conversation
  composer.focus();
});
byId('new').addEventListener('click', () => {
  sidebar.toggle(false);
  if (location.hash) location.hash = ''; else void open(null);
  composer.focus();
});
byId('more').addEventListener('click', () => { if (current.id) void showMenu(byId('more'), { conversationId: current.id, title: current.title }); });
byId('language').addEventListener('click', () => void switchLanguage());
byId('sign-out').addEventListener('click', () => { identity.token = null; location.replace(location.pathname); });
byId('theme').addEventListener('click', () => {
  const { dataset } = document.documentElement;
  const now = dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
  dataset.theme = now === 'dark' ? 'light' : 'dark';
  memory.set('theme', dataset.theme);
});
inEachLanguage(() => {
  byId('language').textContent = t('language');
  byId('language').setAttribute('aria-label', t('languageLabel'));
  sidebar.draw();
  draw();
});

const theme = memory.get('theme');
if (theme) document.documentElement.dataset.theme = theme;
await loadLanguage();
await begin();
