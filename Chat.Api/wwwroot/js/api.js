// The HTTP routes the page uses.
import { fromHttp } from './errors.js';

/** @typedef {{conversationId: string, title: string, createdAt: string, updatedAt?: string}} ConversationInfo */

/** @param {string} path @param {RequestInit} [init] */
async function request(path, init) {
  const response = await fetch(path, init);
  if (!response.ok) throw await fromHttp(response);
  return response.status === 204 ? null : response.json();
}

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

/** @param {string} id @returns {Promise<ConversationInfo & {ratings: Record<string, 'up' | 'down'>}>} */
export const readConversation = (id) => request(conversation(id));

/** @param {string} id @param {string} title */
export const renameConversation = (id, title) =>
  request(conversation(id), { method: 'PATCH', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ title }) });

/** @param {string} id */
export const deleteConversation = (id) => request(conversation(id), { method: 'DELETE' });

/** @param {string} id */
export const exportAddress = (id) => `${conversation(id)}/export`;

/** @returns {Promise<{data: {id: string}[]}>} */
export const listModels = () => request('v1/models');

/** @returns {Promise<{kind: string, name: string, summary: string}[]>} every plugin that is loaded */
export const listPlugins = () => request('api/plugins');

/** The first is the default. @returns {Promise<{name: string, greeting?: string}[]>} */
export const listBots = () => request('api/bots');
