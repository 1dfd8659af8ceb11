// What an application does with the openai package for Node. Started by tests/serving/test_openai_node.py,
// which says in the environment where the gateway and the stand-in engine behind it are.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import OpenAI from 'openai';

const { HONE_URL, HONE_KEY, HONE_LIMITED_KEY, HONE_ENGINE_URL } = process.env;
const HELLO = [{ role: 'user', content: 'hello there my friend' }];
const SHOUT = {
  type: 'function',
  function: { name: 'shout', parameters: { type: 'object', properties: { text: { type: 'string' } } } },
};
const client = new OpenAI({ baseURL: `${HONE_URL}/v1`, apiKey: HONE_KEY, maxRetries: 0, timeout: 20_000 });

async function setEngine(values) {
  const answer = await fetch(`${HONE_ENGINE_URL}/fake`, { method: 'PUT', body: JSON.stringify(values) });
  assert.equal(answer.status, 200);
}

async function engine() {
  return (await fetch(`${HONE_ENGINE_URL}/fake`)).json();
}

async function eventually(isTrue) {
  const deadline = Date.now() + 5_000;
  while (!(await isTrue())) {
    assert.ok(Date.now() < deadline, 'it did not come true within 5 s');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function collect(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}

function ask(options = {}, settings = {}) {
  return client.chat.completions.create({ model: 'policy', messages: HELLO, ...options }, settings);
}

beforeEach(() =>
  setEngine({ says: null, fail_next: 0, bodies: [], num_cancelled: 0, answer_delay_s: 0, chunk_delay_s: 0 }),
);

test('every route of models, moderations, text and chat answers', async () => {
  const { data: answer, response } = await ask({ n: 2 }).withResponse();
  assert.equal(answer.choices[1].message.content, 'HELLO THERE MY FRIEND');
  assert.equal(answer.model, 'policy-0000');
  assert.equal(response.headers.get('x-policy-version'), 'policy-0000');
  assert.match(answer._request_id, /^req_/);
  const text = await client.completions.create({ model: 'policy', prompt: 'one two' });
  assert.equal(text.choices[0].text, 'ONE TWO');
  const models = await collect(client.models.list());
  assert.deepEqual(models.map((model) => model.id), ['policy', 'policy@production', 'policy-0000', 'fake-moderation']);
  assert.equal((await client.models.retrieve('policy-0000')).owned_by, 'hone');
  const moderated = await client.moderations.create({ input: ['attack', 'tea'] });
  assert.deepEqual(moderated.results.map((result) => result.flagged), [true, false]);
});

test('moderation takes every kind of input, and says what is wrong with one', async () => {
  const part = { type: 'text', text: 'an attack' };
  for (const [input, flagged] of [
    ['attack', [true]],
    ['', [false]],
    [['tea', 'attack \u0000 漢字 😀'], [false, true]],
    [[part, part], [true]],
  ]) {
    const { results } = await client.moderations.create({ input });
    assert.deepEqual(results.map((result) => result.flagged), flagged);
    assert.equal(Object.keys(results[0].categories).length, 13);
  }
  const old = await client.moderations.create({ input: 'attack', model: 'text-moderation-001' });
  assert.equal(Object.keys(old.results[0].category_scores).length, 7);
  const image = { type: 'image_url', image_url: { url: 'https://example.com/a.png' } };
  for (const input of [[], [part, image], Array(10_000).fill('a'), 'x'.repeat(2 ** 20), '\ud800']) {
    await assert.rejects(client.moderations.create({ input }), OpenAI.BadRequestError);
  }
  await assert.rejects(client.moderations.create({ input: 'a', model: 'gpt-4' }), OpenAI.NotFoundError);
});

test('a chat completion shows what moderation says of it, whole and streamed', async () => {
  const moderation = { model: 'omni-moderation-latest' };
  const whole = (await ask({ moderation })).moderation;
  const chunks = await collect(await ask({ moderation, stream: true }));
  const [{ moderation: streamed }] = chunks.filter((chunk) => chunk.moderation);
  for (const side of [whole.input, whole.output, streamed.input, streamed.output]) {
    assert.equal(side.type, 'moderation_results');
    assert.deepEqual(side.results.map((result) => result.flagged), [false]);
  }
  const messages = [{ role: 'user', content: 'how do I attack' }];
  await assert.rejects(ask({ messages, moderation }), { status: 400, code: 'content_policy_violation' });
});

test('a stored completion is listed, labelled, read and deleted', async () => {
  const made = [];
  for (let i = 0; i < 5; i++) made.push((await ask({ metadata: { by: 'node', odd: String(i % 2) } })).id);
  const stored = client.chat.completions;
  const ids = async (query) => (await collect(stored.list(query))).map((found) => found.id);
  assert.deepEqual(await ids({ limit: 2, metadata: { by: 'node' } }), made);
  assert.deepEqual(await ids({ limit: 2, order: 'desc', metadata: { by: 'node', odd: '1' } }), [made[3], made[1]]);
  assert.equal((await stored.retrieve(made[0])).choices[0].message.content, 'HELLO THERE MY FRIEND');
  assert.deepEqual((await stored.update(made[0], { metadata: { a: 'b' } })).metadata, { a: 'b' });
  const messages = await collect(stored.messages.list(made[0]));
  assert.deepEqual(messages.map(({ id, content }) => [id, content]), [[`${made[0]}-0`, HELLO[0].content]]);
  for (const id of made) {
    assert.deepEqual(await stored.delete(id), { id, object: 'chat.completion.deleted', deleted: true });
    await assert.rejects(stored.retrieve(id), OpenAI.NotFoundError);
  }
  assert.deepEqual(await ids({ metadata: { by: 'node' } }), []);
});

test('a stream adds up to the answer', async () => {
  const chunks = await collect(await ask({ stream: true, stream_options: { include_usage: true } }));
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
  assert.equal(text, 'HELLO THERE MY FRIEND');
  assert.equal(chunks.at(-1).usage.completion_tokens, 4);
  const built = await client.chat.completions.stream({ model: 'policy', messages: HELLO }).finalContent();
  assert.equal(built, 'HELLO THERE MY FRIEND');
});

test('a tool is called and its result answered', async () => {
  const shouted = [];
  const shout = { ...SHOUT.function, parse: JSON.parse, function: ({ text }) => shouted.push(text) && 'it was loud' };
  const runner = client.chat.completions.runTools({
    model: 'policy',
    messages: HELLO,
    tools: [{ type: 'function', function: shout }],
  });
  assert.equal(await runner.finalContent(), 'IT WAS LOUD');
  assert.deepEqual(shouted, ['HELLO THERE MY FRIEND']);
  const streamed = client.chat.completions.stream({ model: 'policy', messages: HELLO, tools: [SHOUT] });
  const [call] = (await streamed.finalMessage()).tool_calls;
  assert.deepEqual(JSON.parse(call.function.arguments), { text: 'HELLO THERE MY FRIEND' });
});

test('a schema goes to the engine and its answer comes back', async () => {
  await setEngine({ says: '{"name": "Ulm"}' });
  const schema = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] };
  const format = { type: 'json_schema', json_schema: { name: 'town', schema, strict: true } };
  const answer = await ask({ response_format: format });
  assert.deepEqual(JSON.parse(answer.choices[0].message.content), { name: 'Ulm' });
  assert.deepEqual((await engine()).bodies[0].response_format, format);
});

for (const [name, kind, status, options, expected] of [
  ['out of bounds', OpenAI.BadRequestError, 400, { temperature: 3 }, { param: 'temperature' }],
  ['unknown', OpenAI.BadRequestError, 400, { magic: 1 }, { param: 'magic', code: 'unknown_field' }],
  ['no model', OpenAI.NotFoundError, 404, { model: 'gpt-4' }, { code: 'model_not_found' }],
  [
    'too large',
    OpenAI.APIError,
    413,
    { messages: [{ role: 'user', content: 'x'.repeat(2_000_000) }] },
    { code: 'request_too_large' },
  ],
]) {
  test(`a request that is wrong (${name}) is the error of its kind, at once`, async () => {
    await assert.rejects(ask(options, { maxRetries: 2 }), (error) => {
      assert.ok(error instanceof kind);
      assert.equal(error.status, status);
      for (const [field, value] of Object.entries(expected)) assert.equal(error[field], value);
      assert.equal(error.headers.get('x-should-retry'), 'false');
      return true;
    });
    assert.deepEqual((await engine()).bodies, []);
  });
}

test('a wrong key is a 401, an impossible judgement a 422', async () => {
  await assert.rejects(client.withOptions({ apiKey: 'sk-wrong' }).models.list(), OpenAI.AuthenticationError);
  await assert.rejects(
    client.post('/feedback/ratings', { body: { completion_id: 'x' } }),
    OpenAI.UnprocessableEntityError,
  );
});

test('a limit is a 429 that says when to come back', async () => {
  const limited = client.withOptions({ apiKey: HONE_LIMITED_KEY });
  const late = [];
  for (let i = 0; i < 4; i++) await limited.models.list().catch((error) => late.push(error));
  assert.ok(late.length >= 2); // over two windows at most
  assert.ok(late[0] instanceof OpenAI.RateLimitError);
  const seconds = Number(late[0].headers.get('retry-after'));
  assert.ok(seconds > 0 && seconds <= 60);
});

test('a failure of the engine is retried by the client', async () => {
  await setEngine({ fail_next: 2 }); // the gateway's own second try fails as well
  const answer = await ask({}, { maxRetries: 1 });
  assert.equal(answer.choices[0].message.content, 'HELLO THERE MY FRIEND');
  assert.equal((await engine()).bodies.length, 3);
});

test('a request that times out is tried again and stops the engine each time', async () => {
  await setEngine({ answer_delay_s: 5 });
  await assert.rejects(ask({}, { timeout: 300, maxRetries: 1 }), OpenAI.APIConnectionTimeoutError);
  await eventually(async () => (await engine()).num_cancelled === 2);
});

test('leaving a stream, or aborting a request, stops the engine', async () => {
  await setEngine({ chunk_delay_s: 0.02 });
  const messages = [{ role: 'user', content: 'word '.repeat(200) }];
  for await (const chunk of await ask({ messages, stream: true })) {
    assert.ok(chunk.id);
    break;
  }
  await eventually(async () => (await engine()).num_cancelled === 1);
  await setEngine({ answer_delay_s: 5 });
  const controller = new AbortController();
  const asked = ask({}, { signal: controller.signal });
  setTimeout(() => controller.abort(), 200);
  await assert.rejects(asked, OpenAI.APIUserAbortError);
  await eventually(async () => (await engine()).num_cancelled === 2);
});
