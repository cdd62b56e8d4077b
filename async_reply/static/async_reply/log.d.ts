/** Follows the log of an operation. See log.js. */

import type { Operation, RequestOptions } from "./client.js";

/** What the job has emitted under a name, a line of the log, or the outcome. */
export interface LogEvent<Data = any> {
  /** Counts from 1. */
  id: number;
  /** The name that the job gave, or "log", "reset", "truncated" or a final status. */
  event: string;
  data: Data;
}

export interface FollowLogOptions extends RequestOptions {
  /** Called with each event in order, once for each. The last one is the outcome. */
  onEvent?: (event: LogEvent) => void | Promise<void>;
  /** Called before an event "reset": the events after the number `after` are void, and come again. */
  onReset?: (after: number) => void | Promise<void>;
  /** The number of the last event that is known from before; 0 by default. */
  after?: number;
  /** Returns another URL of the log when its signed link has expired. */
  renew?: () => string | URL | Promise<string | URL>;
}

/**
 * Read the log at `url`, the link `log` of the operation's document. The promise holds the document
 * at the end, also of a failed operation; null if `after` was the outcome already. Raises
 * OperationFailed if the server refuses the request.
 */
export function followLog(url: string | URL, options?: FollowLogOptions): Promise<Operation | null>;
