/** Answers what the job of an operation asks. See answer.js. */

import type { Operation, RequestOptions } from "./client.js";

/**
 * Answer what the job asks. `value` is sent as JSON. Raises OperationFailed with status 400 and
 * `problem.errors` if it is not valid, and with 409 if nobody waits for it any more.
 */
export function answer(
  operation: Operation,
  value: unknown,
  options?: RequestOptions,
): Promise<{ id: string; name: string; status: "answered" }>;
