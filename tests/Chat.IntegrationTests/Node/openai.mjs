// What a program with npm's openai sees: node openai.mjs ADDRESS TOKEN. Its last line is one JSON object; the tests judge it. They hold the
// reply to "never end" for good, let the model fail in the middle of "fail late" and say it is busy to "be busy".
import OpenAI from 'openai';

const [address, token] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: token, maxRetries: 0 });
const ask = (content, more = {}) => ({ model: 'fake', messages: [{ role: 'system', content: 'Be brief.' }, { role: 'user', content }], ...more });

const errorOf = async (call) => {
  try {
    await call();
    return null;
  } catch (error) {
    return { name: error.constructor.name, status: error.status ?? null, code: error.code ?? null, param: error.param ?? null, type: error.type ?? null, message: error.message };
  }
};

const textOf = async (stream) => {
  let text = '';
  let finish = null;
  let usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? '';
    finish = chunk.choices[0]?.finish_reason ?? finish;
    usage = chunk.usage ?? usage;
  }
  return { text, finish, usage };
};

const seen = {};

seen.plain = await client.chat.completions.create(ask('hello', { seed: 7 }));
seen.streamed = await textOf(await client.chat.completions.create(ask('hello', { seed: 7, stream: true, stream_options: { include_usage: true } })));
seen.helper = await client.chat.completions.stream(ask('hello', { seed: 7 })).finalContent();
seen.choices = (await client.chat.completions.create(ask('hello', { seed: 7, n: 3 }))).choices.map((choice) => choice.message.content);

const withLogprobs = await client.chat.completions.create(ask('hello', { seed: 7, logprobs: true, top_logprobs: 2 }));
seen.logprobBytes = Buffer.from(withLogprobs.choices[0].logprobs.content.flatMap((entry) => entry.bytes)).toString('utf8');

seen.models = [];
for await (const model of client.models.list()) seen.models.push(model.id);
seen.model = (await client.models.retrieve('fake-small')).id;

const unending = await client.chat.completions.create(ask('never end', { stream: true }));
for await (const chunk of unending) {
  if (chunk.choices[0]?.delta?.content) break;        // leaving the loop cuts the connection
}
console.log('left');

seen.errors = {
  model: await errorOf(() => client.chat.completions.create({ ...ask('hello'), model: 'gpt-4' })),
  retrieved: await errorOf(() => client.models.retrieve('gpt-4')),
  value: await errorOf(() => client.chat.completions.create(ask('hello', { temperature: 3 }))),
  option: await errorOf(() => client.chat.completions.create(ask('hello', { decoding: { warmth: 1 } }))),
  length: await errorOf(() => client.chat.completions.create(ask('hello', { max_tokens: 5000 }))),
  token: await errorOf(() => new OpenAI({ baseURL: `${address}/v1`, apiKey: 'wrong', maxRetries: 0 }).models.list()),
  busy: await errorOf(() => client.chat.completions.create(ask('be busy'))),
  late: await errorOf(async () => textOf(await client.chat.completions.create(ask('fail late', { stream: true })))),
};

console.log(JSON.stringify(seen));
