// The HTTP routes the page uses.
import { fromHttp } from './errors.js';
import { identity } from './identity.js';

/** @typedef {{conversationId: string, title: string, createdAt: string, updatedAt?: string}} ConversationInfo */

/** @param {string} path @param {RequestInit} [init] @returns {Promise<Response>} */
async function fetchChecked(path, init = {}) {
  const { token } = identity;
  const response = await fetch(path, { ...init, headers: { ...init.headers, ...identity.headers } });
  // An answer from before the sign-in says nothing of the token since.
  if (response.status === 401 && token === identity.token) identity.dispatchEvent(new Event('refused'));
  if (!response.ok) throw await fromHttp(response);
  return response;
}

/** @param {string} path @param {RequestInit} [init] */
const request = async (path, init) => (await fetchChecked(path, init)).json();

/** @param {string} id */
const conversation = (id) => `api/conversations/${encodeURIComponent(id)}`;

/**
 * Newest first. @param {string} query words to search for @param {string | null} cursor where the previous page ended @param {AbortSignal} [signal]
 * @returns {Promise<{conversations: ConversationInfo[], nextCursor: string | null}>}
 */
export function listConversations(query, cursor, signal) {
  const values = new URLSearchParams({ limit: '50' });
  if (query) values.set('q', query);
  if (cursor) values.set('cursor', cursor);
  return request(`api/conversations?${values}`, { signal });
}

/** @param {string} id @returns {Promise<ConversationInfo & {bot: string, ratings: Record<string, 'up' | 'down'>}>} */
export const readConversation = (id) => request(conversation(id));

/** @param {string} id @param {string} title */
export const renameConversation = (id, title) =>
  request(conversation(id), { method: 'PATCH', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ title }) });

/** @param {string} id */
export const deleteConversation = (id) => fetchChecked(conversation(id), { method: 'DELETE' });

/** As a file. @param {string} id @returns {Promise<Blob>} */
export const exportConversation = async (id) => (await fetchChecked(`${conversation(id)}/export`)).blob();

/** Whether a conversation may be used for training, and whether this server asks for that at all. @param {string} id @returns {Promise<{training: boolean, asked: boolean}>} */
export const readConsent = (id) => request(`${conversation(id)}/consent`);

/** @param {string} id @param {boolean} training */
export const giveConsent = (id, training) =>
  request(`${conversation(id)}/consent`, { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ training }) });

/** The first is the default. @returns {Promise<{id: string, parameters: number, createdAt: string}[]>} */
export const listModels = () => request('api/models');

/** @returns {Promise<{kind: string, name: string, summary: string}[]>} every plugin that is loaded */
export const listPlugins = () => request('api/plugins');

/** The first is the default. @returns {Promise<{name: string, greeting?: string}[]>} */
export const listBots = () => request('api/bots');
