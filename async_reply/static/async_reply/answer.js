// Answers what the job of an operation asks. It runs in pages and in Node. answer.d.ts describes it.

import { Client, questionOf } from "./client.js";

export async function answer(operation, value, options = {}) {
  const question = questionOf(operation);
  if (!question?.link) throw new TypeError("The operation asks nothing that this caller may answer.");
  const headers = { "Content-Type": "application/json" };
  const client = new Client(question.link, options);
  // The same answer again changes nothing, so the request may be repeated.
  return (await client.persist(question.link, { method: "POST", headers, body: JSON.stringify(value) })).json();
}
